use stormproof::retry;

#[retry(max_retries = 3, max_attempts = 4)]
async fn said_twice() -> std::io::Result<()> {
    Ok(())
}

#[retry(max_attempts = 0)]
async fn no_attempt() -> std::io::Result<()> {
    Ok(())
}

#[retry(base_delay = "10s", max_delay = "1s", jitter = 1.5)]
async fn not_allowed() -> std::io::Result<()> {
    Ok(())
}

#[retry(backoff = "linear", factor = 3.0)]
async fn not_together() -> std::io::Result<()> {
    Ok(())
}

#[retry(retry_on = "RateLimitError")]
async fn no_list() -> std::io::Result<()> {
    Ok(())
}

#[retry]
async fn what_cannot_be_given_twice(list: &mut Vec<u8>) -> std::io::Result<()> {
    list.push(1);
    Ok(())
}

struct Client;

impl Client {
    #[retry]
    async fn changes(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    #[retry]
    async fn consumes(self) -> std::io::Result<()> {
        Ok(())
    }
}

#[retry]
#[stormproof::with_timeout("1s")]
fn cannot_be_ended() -> std::io::Result<()> {
    Ok(())
}

#[retry]
async fn cannot_fail() {}

#[retry]
async fn has_no_name() -> Result<impl Sized, std::io::Error> {
    Ok(())
}

#[retry]
fn was_async() -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<()>>>> {
    Box::pin(async { Ok(()) })
}

#[retry]
#[retry]
async fn twice() -> std::io::Result<()> {
    Ok(())
}

#[retry(base_delay = "1s", initial_delay = "2s", jitter = 0.2, jitter_factor = 0.3)]
async fn set_under_other_names() -> std::io::Result<()> {
    Ok(())
}

#[retry(timeout = 30, backoff_multiplier = 0.5)]
async fn has_its_place_elsewhere() -> std::io::Result<()> {
    Ok(())
}

fn main() {}
