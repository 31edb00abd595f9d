use axum::body::Body;
use axum::response::Response;
use http::StatusCode;

use crate::http::auth::{Bounds, Operation};
use crate::http::call::{Call, answer};
use crate::http::problem::{Code, Problem};
use crate::sync::{Batch, Probe, Replica};

/// `verify`: one round of comparing, and of repairing what differs.
pub(in crate::http) async fn handle(call: Call, body: Body) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::Verify, Vec::new()).await?;
    bounds.check_whole()?;
    let probe: Probe = call.json(body, Code::InvalidRequest).await?;
    if call.site.is_some_and(|site| site != probe.from) {
        return Err(Problem::new(Code::InvalidRequest, "`from` is not the site that the caller says it is"));
    }
    if let Some(repair) = &probe.repair {
        check_repair(&bounds, &probe, repair)?;
    }
    let page = call.settings.limits.page(call.query.limit()?);
    let database = call.open().await?;
    let verify = move |replica: &mut Replica| {
        replica.check_probe(&probe)?;
        if let Some(repair) = &probe.repair {
            replica.apply_changes(repair)?;
        }
        // Only the storage can fail now. What was merged stays then, which is safe to bring again.
        Ok::<_, Problem>(replica.verify(&probe, page)?.reply)
    };
    answer(StatusCode::OK, &database.call(verify).await??)
}

fn check_repair(bounds: &Bounds, probe: &Probe, repair: &Batch) -> Result<(), Problem> {
    bounds.check_batch(repair)?;
    if repair.from != probe.from {
        return Err(Problem::new(Code::InvalidRequest, "`repair` is not from the site that sends the probe"));
    }
    if repair.start.is_some() || !repair.covers.is_empty() || !repair.partial.is_empty() {
        return Err(Problem::new(Code::InvalidRequest, "`repair` is a batch that claims nothing and moves no cursor"));
    }
    Ok(())
}
