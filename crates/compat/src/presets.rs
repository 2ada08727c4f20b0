//! The numbers of systems that are in use, as configuration.

/// Policies by name, in TOML. `extends` starts from another policy; what stands beside it overrides that.
pub const POLICIES: &str = include_str!("presets.toml");

/// The health trackers of presets by name, in TOML.
pub const HEALTH: &str = "
[aragora]
strategy.ratio = { window = 100, unhealthy_threshold = 0.5 }

[a2a]
strategy.consecutive = { failure_threshold = 3, recovery_threshold = 2 }
";

/// The family of a preset: the part of its name before the first dot, such as `aragora` of `aragora.openai`.
pub fn family(preset: &str) -> &str {
    preset.split('.').next().unwrap_or(preset)
}

/// A setting whose value a preset takes from another one: in this family's presets the first follows what is written for
/// the second, unless it is written itself.
pub const FOLLOWS: &[(&str, &str, &str, &str)] = &[("a2a", "breaker", "success_threshold", "half_open_max_calls")];
