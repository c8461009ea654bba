"""A second implementation of Konclave's site client, for tests only: slow and clear, by docs/protocol.md and apart from the Rust code."""
