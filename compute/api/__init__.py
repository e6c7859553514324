"""REST doors of compute: one file per theme, shapes and wishes apart."""
