package wire

// steering are the fields by which a request tells a proxy that sells many
// vendors' models where to send it, and with which key. No vendor documents them;
// where such a proxy stands in the vendor's place, they are not the client's to give.
var steering = map[string]bool{
	"api_base": true, "base_url": true, "api_key": true, "api_type": true, "custom_llm_provider": true, "litellm_params": true,
	"user_config": true, "model_list": true, "extra_headers": true, "headers": true, "proxy": true, "proxies": true,
	"aws_access_key_id": true, "aws_secret_access_key": true, "aws_bedrock_runtime_endpoint": true, "vertex_credentials": true, "azure_endpoint": true,
}
