"""What a scoring and a comparison found, for people: rows for a terminal, Markdown, and one HTML page with charts."""
