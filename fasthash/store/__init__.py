"""The only place that talks to PostgreSQL; its SQL lies in `fasthash/sql/`."""
