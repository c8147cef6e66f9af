//! Scenarios, a file a theme, and the property test.
