//! The distributions that chance is drawn from.

use stormproof_core::Rng;

/// A time between two arrivals that know nothing of each other, in the unit of `mean`.
pub(super) fn exponential(rng: &Rng, mean: f64) -> f64 {
    -(1.0 - rng.unit()).ln() * mean
}

/// A positive number with that mean, whose logarithm has that standard deviation.
pub(super) fn log_normal(rng: &Rng, mean: f64, spread: f64) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.unit()).cos();
    mean * (spread * normal - spread * spread / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_the_mean_they_are_given() {
        let rng = Rng::new(1);
        let mean = |draw: &dyn Fn() -> f64| (0..100_000).map(|_| draw()).sum::<f64>() / 1e5;
        assert!((mean(&|| exponential(&rng, 3.0)) - 3.0).abs() < 0.05);
        assert!((mean(&|| log_normal(&rng, 3.0, 0.5)) - 3.0).abs() < 0.05);
    }
}
