"""YAML files that ship with edgekit; this file makes editable installs find them."""
