"""Images, masks and videos as files: read as a player shows them, written whole or not at all."""
