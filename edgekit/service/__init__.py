"""A pipeline as a service of systemd: its unit, its installation, and what systemd hears of it (`notify`)."""
