use crate::command::fixture::Fixture;

#[test]
fn a_sketch_becomes_dense_within_one_command() {
    let mut fixture = Fixture::new();
    let mut config = (*fixture.shard.config).clone();
    config.hll_sparse_max_bytes = 30;
    fixture.shard.config = config.into();
    let many: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(fixture.run(&format!("PFADD h {}", many.join(" "))), ":1");
    assert_eq!(fixture.run("PFDEBUG ENCODING h"), "+dense");
    let count = fixture.run("PFCOUNT h");
    let count: i32 = count[1..].parse().expect("a number");
    assert!((490..510).contains(&count), "{count}");
    assert_eq!(fixture.run(&format!("PFADD h {}", many.join(" "))), ":0");
    assert_eq!(fixture.run("PFSELFTEST"), "+OK");
}
