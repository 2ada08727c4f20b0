//! Each feature of each package alone: what one feature needs, no other may bring in by accident.

use serde_json::Value;

use crate::step::{self, Step};

pub(crate) fn steps() -> Result<Vec<Step>, String> {
    let text = step::output("cargo metadata --no-deps --format-version 1 --locked")?;
    let metadata = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(commands(&metadata).into_iter().map(|(name, command)| Step::new(name, &command)).collect())
}

/// Names and commands: for every package that has features, none of them and then each.
fn commands(metadata: &Value) -> Vec<(String, String)> {
    metadata["packages"].as_array().into_iter().flatten().filter_map(of_package).flatten().collect()
}

fn of_package(package: &Value) -> Option<Vec<(String, String)>> {
    let name = package["name"].as_str()?;
    let features = package["features"].as_object().filter(|features| !features.is_empty())?;

    let bare = format!("cargo check -p {name} --no-default-features --locked");
    let each =
        features.keys().map(|feature| (format!("{name} with {feature}"), format!("{bare} --features {feature}")));
    let mut commands: Vec<_> = each.collect();
    commands.insert(0, (format!("{name} without features"), bare));
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_checked_alone_and_packages_without_features_are_not() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "features": { "default": ["x"], "x": [] } },
            { "name": "b", "features": {} },
        ]});

        let found = commands(&metadata);

        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a without features", "a with default", "a with x"]);
        assert_eq!(found[2].1, "cargo check -p a --no-default-features --locked --features x");
    }
}
