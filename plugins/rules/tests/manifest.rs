//! What the plugin says of itself.

use rules::Rules;
use switchyard_sdk::testing::config_schema_is_derived;

#[test]
fn the_schema_of_the_config_is_the_one_that_its_types_have() {
    config_schema_is_derived::<Rules>(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"));
}
