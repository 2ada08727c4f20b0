//! Answers and errors of reqwest, for [`Statuses`](crate::Statuses).

use http::{HeaderMap, StatusCode};

use crate::classify::{Answer, Failure};
use crate::error::Error;

impl Answer for reqwest::Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

impl Failure for reqwest::Error {
    fn status(&self) -> Option<StatusCode> {
        self.status()
    }

    fn kind(&self) -> &'static str {
        if self.is_timeout() && !self.is_connect() {
            return Error::Timeout.kind();
        }
        Error::of_client(self, self.is_connect()).kind()
    }

    fn is_callers_fault(&self) -> bool {
        self.is_builder() || Error::of_client(self, self.is_connect()).is_callers_fault()
    }
}
