//! Two small generators for schema leaves: a closed set of words, and a short text with rules.
//!
//! Both write their schema by hand: a plain `enum` or a bounded string, never `oneOf` or
//! `anyOf`, so that the API server finds it structural and can bound the cost of the rules.

/// An enum whose values are written exactly as the variants are named (or renamed).
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as manifests write it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool { true }
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

/// A string of bounded length with CEL rules of its own: `Rule: "message"` pairs.
macro_rules! text {
    ($(#[$meta:meta])* $name:ident(min $min:literal, max $max:literal) { $($rule:literal: $message:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str { &self.0 }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self { Self(text.to_owned()) }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self { Self(text) }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool { true }
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                #[allow(unused_mut)]
                let mut rules: Vec<serde_json::Value> = Vec::new();
                $(rules.push(serde_json::json!({ "rule": $rule, "message": $message }));)*
                let mut schema = schemars::json_schema!({
                    "type": "string", "minLength": $min, "maxLength": $max
                });
                if !rules.is_empty() {
                    schema.insert("x-kubernetes-validations".into(), rules.into());
                }
                schema
            }
        }
    };
}
