//! The database as a file: `exportFile` and `importFile`.

use axum::body::Body;
use axum::response::Response;
use futures_util::stream::try_unfold;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Limited};

use super::create;
use crate::http::auth::Operation;
use crate::http::call::Call;
use crate::http::extract;
use crate::http::media::SQLITE;
use crate::http::problem::Problem;

/// `exportFile`
pub(in crate::http) async fn export(call: Call) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::ExportFile, Vec::new()).await?;
    bounds.check_whole()?;
    let export = call.open().await?.export().await?;
    let length = export.left();
    let pieces = try_unfold(export, |mut export| async {
        let piece = export.next().await?;
        Ok::<_, crate::store::Error>(piece.map(|piece| (piece, export)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SQLITE));
    // Whoever reads it can tell how far it is.
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `importFile`
pub(in crate::http) async fn import(call: Call, body: Body) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::ImportFile, Vec::new()).await?;
    bounds.check_define()?;
    extract::check_media_type(call.headers(), SQLITE)?;
    extract::check_not_encoded(call.headers())?;
    let mut import = call.settings.store.import(&call.dbid).await?;
    let limit = call.settings.limits.file;
    let mut body = Limited::new(body, limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| extract::broken_off(&*error, limit, "there is no smaller form of a file"))?;
        if let Ok(bytes) = frame.into_data() {
            import.write(bytes).await?;
        }
    }
    let created = import.finish().await?;
    // Its link to the upstream begins now, or else with the next request.
    let _ = call.open().await;
    create::created(&bounds, created)
}
