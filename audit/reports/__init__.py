"""Reports for people: one pass over a log in flat memory, one self-contained HTML file."""
