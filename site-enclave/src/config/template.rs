//! The `site.toml` that `konclave-site join` writes.

/// The file, with every key explained.
#[must_use]
pub fn site_toml(gateway_url: &str) -> String {
    // TOML's basic strings and JSON's have the same escapes for what a URL can hold.
    let gateway_url = serde_json::Value::from(gateway_url);
    format!(
        r#"# Settings of this site. Each key can also be set in the environment (KONCLAVE_SITE_POLL_SECONDS=5)
# or, for the commonest, as a flag (--poll-seconds 5); flags win over the environment, the environment over this file.

# The gateway. The site opens connections to it and accepts none.
gateway_url = {gateway_url}

# Files with measurements in the K-MELLODDY standard format, relative to this folder; `*` stands for any text in the
# last part. They are read here and never leave the site.
data = ["data/*.csv"]

# This site's own policy; it may only be stricter than the consortium's. Without this key the site refuses every job.
policy = "policy.toml"

# The least protection with which this site takes part: a rounds policy below one of these floors is refused. Without this
# key the floors built into this program hold.
floors = "floors.toml"

# The consortium's rounds policy that this site accepts, and no other. Without it: any that the ledger proves, whose digest
# the job names, and that keeps to the floors.
# rounds_policy = "rounds.toml"

# How long the gateway may hold a request for work before it answers "none", 1 to 30.
poll_seconds = 20

# How often the ledger's checkpoint is checked and cosigned, at least.
witness_seconds = 5

# How long a connection may take to open, and how long an open exchange may be silent. There is no limit on how long a
# transfer takes.
connect_timeout_seconds = 10
idle_timeout_seconds = 60

# How often a request is sent again before the site goes back to asking for work.
attempts = 6

# [witness]
# A folder that the sites share, such as a network drive or a synchronised folder: this site puts the last ledger head that
# it cosigned there and compares those of the others with its own, without the gateway between them. Read and write access is
# enough; whoever else can write there can remove notes, but not make false ones. (KONCLAVE_SITE_WITNESS_EXCHANGE_FOLDER)
# exchange_folder = "/mnt/consortium/ledger-notes"
"#
    )
}
