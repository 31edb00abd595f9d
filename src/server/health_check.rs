use std::time::Duration;

use super::{Failure, cli};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `crsql-sync health`: succeeds if the server says that it is ready.
pub(super) fn run(options: &cli::Health) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // A proxy would say how the proxy is.
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let url = format!("{}/readyz", options.url.trim_end_matches('/'));
        let answer = client.get(&url).send().await.map_err(|error| format!("{url}: {error}"))?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("{url}: {}", answer.status()).into()) }
    })
}
