"""Reports: what the journal says, added up for people."""
