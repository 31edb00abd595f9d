//! Errors as RFC 9457 problem documents.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use rusqlite::ErrorCode;
use serde::Serialize;

use super::plan::Plan;
use crate::store;
use crate::sync::{
    self, ApplyError, CreateError, Cursor, DiscardError, MigrateError, RequestError, SchemaHash, Since, SqlError,
    VerifyError,
};

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Seconds after which a caller may find an unavailable database available.
pub(crate) const RETRY_AFTER: &str = "1";

/// What went wrong, for programs. Each has one status and one text that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The path's database id has not the form of one.
    InvalidDbid,
    /// The body is no batch, or one that cannot be of this database.
    InvalidBatch,
    /// The text is no schema.
    InvalidSchema,
    /// A parameter or body that cannot be read.
    InvalidRequest,
    /// The file is no copy of a database, or is damaged.
    InvalidFile,
    /// SQL that is not allowed, wrong, or too much.
    QueryRefused,
    /// The caller must say who it is.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// No such database, or no such route.
    NotFound,
    /// The route does not take this method.
    MethodNotAllowed,
    /// The body is not of a type that the route takes.
    UnsupportedMediaType,
    /// There is a database of this id already.
    DatabaseExists,
    /// The batch begins after what is held.
    OutOfOrder,
    /// The database has another schema.
    SchemaMismatch,
    /// The write was done before, and its answer is not known any more.
    AlreadyDone,
    /// The migration would lose values that were not named.
    MigrationRefused,
    /// The cursor is ahead of this copy.
    CursorAhead,
    /// The cursor is of another copy.
    CursorUnknown,
    /// The body came too slowly.
    RequestTimeout,
    /// The body is larger than is taken.
    PayloadTooLarge,
    /// The caller has too much under way.
    TooManyRequests,
    /// Not the caller's fault.
    Internal,
    /// Not now.
    Unavailable,
    /// The disk or quota is full.
    StorageFull,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::InvalidDbid,
        Self::InvalidBatch,
        Self::InvalidSchema,
        Self::InvalidRequest,
        Self::InvalidFile,
        Self::QueryRefused,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::DatabaseExists,
        Self::OutOfOrder,
        Self::SchemaMismatch,
        Self::AlreadyDone,
        Self::MigrationRefused,
        Self::CursorAhead,
        Self::CursorUnknown,
        Self::RequestTimeout,
        Self::PayloadTooLarge,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
        Self::StorageFull,
    ];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// The status.
    pub fn status(self) -> StatusCode {
        self.parts().1
    }

    /// Code, status and title.
    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidDbid => ("invalid_dbid", S::BAD_REQUEST, "The database id is invalid"),
            Self::InvalidBatch => ("invalid_batch", S::BAD_REQUEST, "The batch is invalid"),
            Self::InvalidSchema => ("invalid_schema", S::BAD_REQUEST, "The schema is invalid"),
            Self::InvalidRequest => ("invalid_request", S::BAD_REQUEST, "The request is invalid"),
            Self::InvalidFile => ("invalid_file", S::BAD_REQUEST, "The file cannot become a database"),
            Self::QueryRefused => ("query_refused", S::BAD_REQUEST, "The SQL was refused"),
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "Authentication is needed"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "This is not allowed"),
            Self::NotFound => ("not_found", S::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, "The method is not allowed"),
            Self::UnsupportedMediaType => {
                ("unsupported_media_type", S::UNSUPPORTED_MEDIA_TYPE, "The media type is not supported")
            }
            Self::DatabaseExists => ("database_exists", S::CONFLICT, "There is a database already"),
            Self::OutOfOrder => ("out_of_order", S::CONFLICT, "Something before this batch is missing"),
            Self::SchemaMismatch => ("schema_mismatch", S::CONFLICT, "The database has another schema"),
            Self::AlreadyDone => ("already_done", S::CONFLICT, "The write was done before"),
            Self::MigrationRefused => ("migration_refused", S::CONFLICT, "The migration would lose data"),
            Self::CursorAhead => ("cursor_ahead", S::CONFLICT, "The cursor is ahead of this copy"),
            Self::CursorUnknown => ("cursor_unknown", S::CONFLICT, "The cursor is of another copy"),
            Self::RequestTimeout => ("request_timeout", S::REQUEST_TIMEOUT, "The body came too slowly"),
            Self::PayloadTooLarge => ("payload_too_large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::TooManyRequests => ("too_many_requests", S::TOO_MANY_REQUESTS, "Too much at a time"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Something failed here"),
            Self::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE, "Not available now"),
            Self::StorageFull => ("storage_full", S::INSUFFICIENT_STORAGE, "The storage is full"),
        }
    }
}

/// An error as it is answered. Nothing was changed by the request that it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    code: Code,
    detail: String,
    members: Box<Members>,
    /// What would have been taken instead.
    accepted: Option<(HeaderName, &'static str)>,
}

/// What some problems say beyond their text.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Members {
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<SchemaHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
}

/// The `scope` of a refusal that is for a change, and not for the caller.
pub(crate) const CHANGE: &str = "change";

impl Problem {
    /// `detail` says what is wrong with this request, and what to do.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), members: Box::default(), accepted: None }
    }

    /// Refuses a batch for a change in it that the caller may not make: the caller may find that its other changes are taken.
    /// What refuses a caller as such is a problem of [`Code::Forbidden`] without that.
    pub fn forbidden_change(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(Code::Forbidden, detail);
        problem.members.scope = Some(CHANGE);
        problem
    }

    /// What went wrong.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Says, by a header, what would have been taken instead.
    pub(super) fn accepting(mut self, header: HeaderName, values: &'static str) -> Self {
        self.accepted = Some((header, values));
        self
    }

    /// A failure that is not the caller's: the reason goes to the log.
    pub(super) fn internal(reason: &dyn std::fmt::Display) -> Self {
        tracing::error!("{reason}");
        Self::new(Code::Internal, "the operation failed; the log of the host says why")
    }

    fn unusable(reason: &dyn std::fmt::Display) -> Self {
        tracing::error!("{reason}");
        let detail = "the file of this database is damaged, or is no database; its host must restore it";
        Self::new(Code::Internal, detail)
    }

    fn read_only() -> Self {
        Self::new(Code::Unavailable, "the storage is read-only; nothing can be written")
    }

    fn expecting(mut self, expected: Since) -> Self {
        self.members.expected = Some(expected.to_string());
        self
    }

    fn at(mut self, at: Cursor) -> Self {
        self.members.at = Some(at.to_string());
        self
    }

    fn of_schema(mut self, schema: SchemaHash) -> Self {
        self.members.schema = Some(schema);
        self
    }

    fn planning(mut self, plan: Plan) -> Self {
        self.members.plan = Some(plan);
        self
    }

    /// The document.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            title: &'static str,
            status: u16,
            code: &'static str,
            detail: &'a str,
            #[serde(flatten)]
            members: &'a Members,
        }
        let (code, status, title) = self.code.parts();
        let document = Document { title, status: status.as_u16(), code, detail: &self.detail, members: &self.members };
        // Texts and numbers cannot fail to serialize.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.code.status();
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, values)) = self.accepted {
            headers.insert(name, HeaderValue::from_static(values));
        }
        match self.code {
            Code::Unavailable | Code::TooManyRequests => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            Code::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound => Self::new(Code::NotFound, error.to_string()),
            store::Error::Exists => {
                Self::new(Code::DatabaseExists, "there is a database of this name; import the file under another one")
            }
            store::Error::InvalidFile(_) => Self::new(Code::InvalidFile, error.to_string()),
            store::Error::InvalidDbid(_) => Self::new(Code::InvalidDbid, error.to_string()),
            store::Error::Unavailable(_) => Self::new(Code::Unavailable, error.to_string()),
            store::Error::StorageFull => Self::new(Code::StorageFull, error.to_string()),
            store::Error::ReadOnly => Self::read_only(),
            store::Error::Unusable(_) => Self::unusable(&error),
            store::Error::Sync(error) => error.into(),
            store::Error::Io(_) => Self::internal(&error),
        }
    }
}

impl From<sync::Error> for Problem {
    fn from(error: sync::Error) -> Self {
        if let sync::Error::TookTooLong(_) = error {
            return Self::new(Code::Unavailable, format!("{error}; nothing was changed"));
        }
        if let sync::Error::Filter { .. } = error {
            tracing::error!("{error}, which denies");
            return Self::new(
                Code::Forbidden,
                "which rows are for this caller could not be found out; the log of the host says why",
            );
        }
        match error.sqlite_code() {
            Some(ErrorCode::DiskFull) => Self::new(Code::StorageFull, "the storage is full; nothing was written"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::new(Code::Unavailable, "another program is writing to the database")
            }
            Some(ErrorCode::ReadOnly) => Self::read_only(),
            Some(ErrorCode::OutOfMemory) => {
                Self::new(Code::Unavailable, "it takes more memory than there is now; ask for less, or try again later")
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::unusable(&error),
            _ => Self::internal(&error),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        let text = error.to_string();
        match error {
            CreateError::InvalidSchema(reason) => Self::new(Code::InvalidSchema, reason),
            CreateError::SchemaMismatch { schema } => Self::new(Code::SchemaMismatch, text).of_schema(schema),
            CreateError::NotPartial => Self::new(Code::DatabaseExists, text),
            CreateError::Replica(error) => error.into(),
        }
    }
}

impl From<MigrateError> for Problem {
    fn from(error: MigrateError) -> Self {
        let text = error.to_string();
        match error {
            MigrateError::InvalidSchema(reason) => Self::new(Code::InvalidSchema, reason),
            MigrateError::Refused { plan } => Self::new(Code::MigrationRefused, text).planning(Plan::from(&plan)),
            MigrateError::Replica(error) => error.into(),
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        let text = error.to_string();
        match error {
            VerifyError::InvalidProbe(reason) => Self::new(Code::InvalidRequest, reason),
            VerifyError::SchemaMismatch { schema } => Self::new(Code::SchemaMismatch, text).of_schema(schema),
            VerifyError::Replica(error) => error.into(),
        }
    }
}

impl From<DiscardError> for Problem {
    fn from(error: DiscardError) -> Self {
        match error {
            DiscardError::Replica(error) => error.into(),
            error => Self::new(Code::InvalidRequest, error.to_string()),
        }
    }
}

impl From<ApplyError> for Problem {
    fn from(error: ApplyError) -> Self {
        let text = error.to_string();
        match error {
            ApplyError::InvalidBatch(reason) => Self::new(Code::InvalidBatch, reason),
            ApplyError::OutOfOrder { expected } => Self::new(Code::OutOfOrder, text).expecting(expected),
            ApplyError::SchemaMismatch { schema } => Self::new(Code::SchemaMismatch, text).of_schema(schema),
            ApplyError::HiddenRow { .. } => Self::forbidden_change(text),
            ApplyError::Replica(error) => error.into(),
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::CursorUnknown { at } => Self::new(Code::CursorUnknown, text).at(at),
            RequestError::CursorAhead { at } => Self::new(Code::CursorAhead, text).at(at),
            RequestError::Replica(error) => error.into(),
        }
    }
}

impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Refused { .. } => Self::new(Code::QueryRefused, error.to_string()),
            SqlError::AlreadyDone => Self::new(Code::AlreadyDone, error.to_string()),
            SqlError::ReadOnly { .. } => Self::new(Code::Forbidden, error.to_string()),
            SqlError::Replica(error) => error.into(),
        }
    }
}
