//! `crypto`: checks against secrets that a plugin can name and never read.

use wasmtime::Result;

use crate::plugin::{
    bindings::imports::crypto::{Error, Host, Mac},
    convert,
    cpu::OffBudget,
    state::State,
};

impl Host for State {
    async fn verify_mac(
        &mut self,
        secret: String,
        algorithm: Mac,
        data: Vec<u8>,
        tag: Vec<u8>,
    ) -> Result<Result<bool, Error>> {
        if !self.admits_kv("crypto.verify-mac")? {
            return Ok(Err(Error::BudgetExhausted));
        }
        let algorithm = convert::mac(algorithm);
        let answer = OffBudget::new(self.host.verify_mac(secret, algorithm, data, tag), &self.meter).await;
        Ok(self.unless_stopped(answer)?.map_err(convert::crypto_error))
    }

    async fn verify_token(&mut self, secret: String, token: String) -> Result<Result<bool, Error>> {
        if !self.admits_kv("crypto.verify-token")? {
            return Ok(Err(Error::BudgetExhausted));
        }
        let answer = OffBudget::new(self.host.verify_token(secret, token), &self.meter).await;
        Ok(self.unless_stopped(answer)?.map_err(convert::crypto_error))
    }

    async fn verify_jwt(&mut self, secret: String, token: String, audience: String) -> Result<Result<String, Error>> {
        if !self.admits_kv("crypto.verify-jwt")? {
            return Ok(Err(Error::BudgetExhausted));
        }
        let answer = OffBudget::new(self.host.verify_jwt(secret, token, audience), &self.meter).await;
        Ok(self.unless_stopped(answer)?.map_err(convert::crypto_error))
    }
}
