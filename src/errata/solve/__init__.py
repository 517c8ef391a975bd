"""Mathematics that several methods share. Knows models and losses; knows no method."""
