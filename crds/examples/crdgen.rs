//! Writes the CustomResourceDefinitions to `yaml/`: `cargo run -p trunkline-crds --example crdgen`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    std::fs::create_dir_all(&folder)?;
    for (name, content) in trunkline_crds::definitions::files() {
        std::fs::write(folder.join(name), content)?;
    }
    Ok(())
}
