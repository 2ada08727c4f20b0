//! Signatures and surroundings that the attributes have to bear: generics, lifetimes, traits, names of the user's own.
#![cfg(test)]
#![allow(clippy::unused_async, clippy::unnecessary_wraps, reason = "what is called is as users have it")]

use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

use stormproof::{circuit_breaker, retry, with_fallback};

/// The user's own, under names that the expansion might trip over.
#[allow(dead_code, reason = "they only stand there")]
mod own {
    pub(super) type Result<T> = std::result::Result<T, std::io::Error>;
    pub(super) enum Option {
        Nothing,
    }
    pub(super) struct Policy;
    pub(super) trait Clone {
        fn clone(&self) -> u8;
    }
    impl<T> Clone for T {
        fn clone(&self) -> u8 {
            0
        }
    }
}

mod shadowed {
    #[allow(unused_imports, reason = "the point is that they are there")]
    use super::own::{Clone, Option, Policy, Result};

    #[stormproof::retry(base_delay = "1ms")]
    pub(super) fn number(text: &str, policy: u32, call: u32, body: u32) -> Result<u32> {
        let number: u32 = text.parse().map_err(std::io::Error::other)?;
        std::result::Result::Ok(number + policy + call + body)
    }

    #[stormproof::with_fallback(default = 5)]
    pub(super) async fn waits(call: u32) -> Result<u32> {
        Err(std::io::Error::other(call.to_string()))
    }
}

#[retry(base_delay = "1ms")]
fn first<'a, T>(items: &'a [T], _: &str) -> std::io::Result<&'a T>
where
    T: PartialEq + 'a,
{
    items.first().ok_or_else(|| std::io::Error::other("none"))
}

#[deny(unused, reason = "the expansion must not look like careless code")]
mod short {
    #[rustfmt::skip]
    #[stormproof::retry]
    pub(super) fn sync() -> std::io::Result<u32> { Ok(1) }

    #[stormproof::retry]
    pub(super) async fn waits() -> std::io::Result<u32> {
        Ok(1)
    }

    #[stormproof::circuit_breaker]
    pub(super) fn sync_once() -> std::io::Result<u32> {
        Ok(1)
    }

    #[stormproof::circuit_breaker]
    pub(super) async fn waits_once() -> std::io::Result<u32> {
        Ok(1)
    }
}

#[retry(base_delay = "1ms")]
fn elided(text: &str) -> std::io::Result<&str> {
    Ok(text.trim())
}

#[retry(base_delay = "1ms")]
async fn elided_later(text: &str) -> std::io::Result<&str> {
    Ok(text.trim())
}

#[with_fallback(fallback = shown)]
async fn show<const N: usize>(
    things: [impl Display + Clone + Send + Sync; N],
    mut sep: char,
) -> std::io::Result<String> {
    sep.make_ascii_uppercase();
    let things: Vec<_> = things.iter().map(ToString::to_string).collect();
    Ok(things.join(&sep.to_string()))
}

fn shown<const N: usize>(_: [impl Display; N], _: char) -> std::io::Result<String> {
    Ok(String::new())
}

trait Store {
    async fn get(&self, key: &str) -> std::io::Result<u32>;
    fn now(self: &std::sync::Arc<Self>, key: &str) -> std::io::Result<u32>;
}

struct Memory<T>(AtomicU32, PhantomData<T>);

impl<T> Store for Memory<T>
where
    T: Send,
{
    /// Fails once.
    #[retry(base_delay = "1ms")]
    #[circuit_breaker(failure_threshold = 9)]
    async fn get(&self, key: &str) -> std::io::Result<u32> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => Err(std::io::Error::other(key.to_owned())),
            calls => Ok(calls),
        }
    }

    #[circuit_breaker]
    fn now(self: &std::sync::Arc<Self>, key: &str) -> std::io::Result<u32> {
        Ok(u32::try_from(key.len()).unwrap_or(0))
    }
}

#[circuit_breaker]
fn consumed(mut items: Vec<u32>, more: &mut Vec<u32>) -> std::io::Result<usize> {
    items.append(more);
    Ok(items.len())
}

#[tokio::test]
async fn every_shape_of_a_function_can_have_attributes() {
    assert_eq!(shadowed::number("1", 2, 3, 4).unwrap(), 10);
    assert_eq!(shadowed::waits(1).await.unwrap(), 5);
    assert_eq!(short::sync().unwrap() + short::waits().await.unwrap(), 2);
    assert_eq!(short::sync_once().unwrap() + short::waits_once().await.unwrap(), 2);
    assert_eq!(*first(&[3, 4], "").unwrap(), 3);
    assert_eq!(elided(" a ").unwrap(), "a");
    assert_eq!(elided_later(" b ").await.unwrap(), "b");
    assert_eq!(show([1, 2], 'x').await.unwrap(), "1X2");
    let store = std::sync::Arc::new(Memory::<u8>(AtomicU32::new(0), PhantomData));
    assert_eq!(store.get("k").await.unwrap(), 1);
    assert_eq!(store.now("four").unwrap(), 4);
    assert_eq!(consumed(vec![1], &mut vec![2, 3]).unwrap(), 3);
}
