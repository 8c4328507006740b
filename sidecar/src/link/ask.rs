//! Questions to the server itself, which it answers in JSON.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::de::DeserializeOwned;

use super::{
    pool::{Socket, SocketError},
    wire::{MESSAGE_BYTES_MAX, OWNERS_PATH},
};

/// Time for the server to say whose its tables are: it asks nobody for that.
const OWNERS_MAX: Duration = Duration::from_secs(2);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("the server's answer is not understood")]
    Answer(#[from] serde_json::Error),
}

impl AskError {
    /// For people who ask how the server is: without the place of its socket.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Socket(SocketError::Connect { source, .. }) => {
                format!("cannot connect to the server: {source}")
            }
            Self::Socket(_) | Self::Status(_) | Self::Answer(_) => self.to_string(),
        }
    }
}

impl Socket {
    /// Asks the server, and waits for the answer for `answer_max` at most.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        uri: &str,
        answer_max: Duration,
    ) -> Result<T, AskError> {
        let request = Request::get(uri).body(Bytes::new());
        let request = request.map_err(SocketError::Request)?;
        let response = self
            .exchange(request, MESSAGE_BYTES_MAX, answer_max)
            .await?;
        match response.status() {
            StatusCode::OK => Ok(serde_json::from_slice(response.body())?),
            other => Err(AskError::Status(other)),
        }
    }

    /// Whose the tables are that the server serves, by `<catalog>/<schema>/<table>`. None of an older server, which does not know the question.
    pub(crate) async fn owners(&self) -> Result<Option<BTreeMap<String, String>>, AskError> {
        match self.ask(OWNERS_PATH, OWNERS_MAX).await {
            Err(AskError::Status(StatusCode::NOT_FOUND)) => Ok(None),
            told => told.map(Some),
        }
    }
}
