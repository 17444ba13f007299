-- Erasing a person from the audit log also erases what others, or they themselves, typed
-- as their address where they were not let in. See docs/adr/0022-audit-log.md.

-- +goose Up

DROP FUNCTION erase_audit(text);
-- +goose StatementBegin
-- Whose: as the log names them. Person: the same, if it is one whose account is there.
CREATE FUNCTION erase_audit(whose text, person uuid DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    erased bigint;
BEGIN
    DELETE FROM audit_personal a WHERE a.subject = whose OR a.email = (SELECT u.email FROM users u WHERE u.user_id = person);
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION erase_audit(text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_audit(text, uuid) TO corp_system;
GRANT CREATE ON SCHEMA public TO corp_auth;
ALTER FUNCTION erase_audit(text, uuid) OWNER TO corp_auth;
REVOKE CREATE ON SCHEMA public FROM corp_auth;
