//! What an experience consists of.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use cl_core::{
    Error,
    snapshot::{self, Kind},
};
use cl_replay::{Field, Schema};

const KIND: Kind = Kind::new("test/schema", 1);

#[test]
fn a_schema_that_cannot_be_is_refused() {
    let refused = |fields: &[Field], word: &str| {
        let error = Schema::new(fields).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    let scalar = |name: &str, dtype| Field::new(name, dtype, []);
    refused(&[], "no field");
    refused(&[scalar("x", DType::F32), scalar("y", DType::F32), scalar("x", DType::U8)], "\"x\"");
    for dtype in [DType::F8E4M3, DType::F4] {
        refused(&[scalar("x", DType::F32), scalar("y", dtype)], dtype.as_str());
    }
    // More than can be addressed: one value, or all of them together.
    for shape in
        [&[usize::MAX][..], &[usize::MAX, 2], &[1 << 40, 1 << 40], &[usize::MAX, usize::MAX, usize::MAX]]
    {
        refused(&[Field::new("x", DType::F32, shape)], "addressed");
    }
    let half = 1 << 62;
    refused(&[Field::new("x", DType::U8, [half]), Field::new("y", DType::U8, [half])], "\"y\"");
}

#[test]
fn an_example_of_one_step_says_what_the_fields_are() {
    let frame = Tensor::zeros((3, 4), DType::U8, &Device::Cpu).unwrap();
    let reward = Tensor::new(0.5f64, &Device::Cpu).unwrap();
    let schema = Schema::of(&[("frame", &frame), ("reward", &reward)]).unwrap();
    let fields = [Field::new("frame", DType::U8, [3, 4]), Field::new("reward", DType::F64, [])];
    assert_eq!(schema.fields(), fields);
    assert_eq!(schema, Schema::new(fields).unwrap());
    assert_eq!(schema.bytes(), 12 + 8);
    assert_eq!((schema.position("frame").unwrap(), schema.position("reward").unwrap()), (0, 1));
    let text = schema.position("action").unwrap_err().to_string();
    assert!(["\"action\"", "frame", "reward"].iter().all(|word| text.contains(word)), "{text}");
    assert!(Schema::of(&[]).is_err());
}

#[test]
fn a_schema_is_restored() {
    let dtypes = [DType::U8, DType::U32, DType::I16, DType::I32, DType::I64, DType::F32, DType::F64];
    let fields: Vec<Field> =
        dtypes.iter().enumerate().map(|(i, &dtype)| Field::new(dtype.as_str(), dtype, vec![i; i])).collect();
    let schema = Schema::new(fields).unwrap();
    let bytes = snapshot::to_bytes(KIND, &schema).unwrap();
    assert_eq!(snapshot::from_bytes::<Schema>(&bytes, KIND).unwrap(), schema);

    // A form that no schema has.
    type Form = Vec<(&'static str, &'static str, Vec<usize>)>;
    let forms: [Form; 4] = [
        vec![],
        vec![("x", "f31", vec![])],
        vec![("x", "f8e4m3", vec![])],
        vec![("x", "f32", vec![]), ("x", "f32", vec![])],
    ];
    for form in forms {
        let bytes = snapshot::to_bytes(KIND, &form).unwrap();
        assert!(
            matches!(snapshot::from_bytes::<Schema>(&bytes, KIND), Err(Error::Format { .. })),
            "{form:?}"
        );
    }
}
