//! Everything over real processes, in one program: what these tests mostly do is wait, so they run beside each other.

mod support;

mod api_clients;
mod audit;
mod big_upload;
mod clear_errors;
mod encoding_quality;
mod exact_sums;
mod gateway_kills;
mod hostile_site;
mod ledger;
mod openapi_document;
mod renewal;
mod restarts;
mod scale;
mod schemathesis;
mod second_client;
mod site_restarts;
mod small_data;
