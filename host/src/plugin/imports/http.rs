//! `http`: calls to providers by connection name.

use wasmtime::Result;

use crate::plugin::{
    bindings::imports::http::{Error, Host, Request, Response},
    convert,
    cpu::OffBudget,
    state::State,
};

/// Bytes of one request's body.
const REQUEST_BYTES: u64 = 4 << 20;

impl Host for State {
    async fn send(&mut self, request: Request) -> Result<Result<Response, Error>> {
        if !self.admits_http()? {
            return Ok(Err(Error::BudgetExhausted));
        }
        if request.body.as_ref().is_some_and(|body| body.len() as u64 > REQUEST_BYTES) {
            return Ok(Err(Error::RequestTooLarge(REQUEST_BYTES)));
        }
        let request = convert::http_request(request).map_err(|malformed| self.end(malformed))?;
        let answer = OffBudget::new(self.host.http_send(request), &self.meter).await;
        let answer = self.unless_stopped(answer)?;
        Ok(answer.map(convert::http_response).map_err(convert::http_error))
    }
}
