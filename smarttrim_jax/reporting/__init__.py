"""Reports for people: tables, pictures and pages."""
