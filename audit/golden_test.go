package audit_test

// What the first release made of the tests' first event.
const (
	goldenHash      = "e9af5a1898093fd0b71550d0e0c3c56381a4eb3bf7d4d043ee6f06b8de15d7f0"
	goldenPersonal  = "770976171574fe5b3f815a2cf3e6d81e0380be25c307b35af642129e6c5ab201"
	goldenSignature = "828af679a4ce2c5d"
)
