"""Reports for people: tables, pictures, pages."""
