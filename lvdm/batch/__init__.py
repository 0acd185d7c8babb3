"""Long lists of videos made by engines of others: what is planned, who makes it, what failed, a page to look at."""
