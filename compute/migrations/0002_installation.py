from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("compute", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=32)),
                ("made_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
