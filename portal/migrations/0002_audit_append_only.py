"""History is append-only: the database itself refuses updates."""

from django.db import migrations

SQLITE = """
CREATE TRIGGER audit_append_only BEFORE UPDATE ON portal_auditevent
BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
"""
POSTGRES = """
CREATE FUNCTION audit_append_only() RETURNS trigger AS $$
BEGIN RAISE EXCEPTION 'audit rows are never changed'; END $$ LANGUAGE plpgsql;
CREATE TRIGGER audit_append_only BEFORE UPDATE ON portal_auditevent
FOR EACH ROW EXECUTE FUNCTION audit_append_only();
"""


def add_trigger(apps, schema_editor):
    """Add the trigger in the database's own dialect."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRES)


def drop_trigger(apps, schema_editor):
    """Take the trigger away again."""
    with schema_editor.connection.cursor() as cursor:
        if schema_editor.connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER audit_append_only")
        else:
            cursor.execute("DROP TRIGGER audit_append_only ON portal_auditevent; DROP FUNCTION audit_append_only()")


class Migration(migrations.Migration):
    """One trigger."""

    dependencies = [("portal", "0001_initial")]
    operations = [migrations.RunPython(add_trigger, drop_trigger)]
