"""Drawing pages and pictures: one matplotlib style, one Jinja environment, one PNG writer."""
