"""A workspace's connection to Application Insights."""

from __future__ import annotations

from django.db import migrations

import portal.secrets


class Migration(migrations.Migration):
    """One encrypted column, empty at first."""

    dependencies = [("portal", "0002_audit_append_only")]

    operations = [
        migrations.AddField(
            model_name="workspace",
            name="app_insights",
            field=portal.secrets.EncryptedTextField(
                blank=True, default="", help_text="Connection string that replicas send telemetry with."
            ),
            preserve_default=False,
        ),
    ]
