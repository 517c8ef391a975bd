"""The lab: small models that know real facts, in the box, and the recipes that trained them."""
