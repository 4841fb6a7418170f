//! Placeholder head, replaced by the module.
