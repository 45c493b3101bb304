//! Types and reasons of conditions, as `kubectl wait --for=condition=Ready` and people see them.
//!
//! A condition describes a state. Its reason is one word for programs, its message a sentence
//! for people; the message never holds a value from a Secret.

/// Types of conditions.
pub mod types {
    /// The object makes sense and nothing else claims the same.
    pub const ACCEPTED: &str = "Accepted";
    /// Everything the object names exists.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// The media pods have taken the configuration.
    pub const PROGRAMMED: &str = "Programmed";
    /// The other side answers.
    pub const REACHABLE: &str = "Reachable";
    /// The carrier's registrar knows us; absent without registration.
    pub const REGISTERED: &str = "Registered";
    /// All that matters is well.
    pub const READY: &str = "Ready";
    /// A pool is changing its pods.
    pub const PROGRESSING: &str = "Progressing";
    /// A pool cannot have as many pods as it wants.
    pub const SCALING_LIMITED: &str = "ScalingLimited";
}

/// Reasons, under the condition they belong to; some serve several.
pub mod reasons {
    // Well.
    /// `Accepted` is true.
    pub const ACCEPTED: &str = "Accepted";
    /// `ResolvedRefs` is true.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// `Programmed` is true.
    pub const PROGRAMMED: &str = "Programmed";
    /// `Ready` is true.
    pub const READY: &str = "Ready";
    /// `Registered` is true.
    pub const REGISTERED: &str = "Registered";
    /// `Reachable` is true: the carrier answered OPTIONS.
    pub const OPTIONS_OK: &str = "OptionsOK";
    /// `Reachable` is true: the carrier is not asked, but the address that it is told leads to the pods.
    pub const SELF_CHECK_OK: &str = "SelfCheckOK";
    /// `Reachable` is true: the agent took a connection.
    pub const CONNECTED: &str = "Connected";
    /// `Progressing` is false: every pod is as it should be.
    pub const UP_TO_DATE: &str = "UpToDate";
    /// `ScalingLimited` is false.
    pub const WITHIN_LIMITS: &str = "WithinLimits";

    // Accepted.
    /// Another trunk has all of this one's numbers from the same sources.
    pub const CONFLICTED: &str = "Conflicted";
    /// Another trunk has some of this one's numbers from the same sources.
    pub const PARTIALLY_CONFLICTED: &str = "PartiallyConflicted";
    /// The object contradicts itself; the message says what to write.
    pub const INVALID: &str = "Invalid";
    /// The object asks for what this version does not do yet.
    pub const UNSUPPORTED: &str = "Unsupported";
    /// The MediaPool that it names does not exist.
    pub const POOL_NOT_FOUND: &str = "PoolNotFound";
    /// Pod Security refuses the pool's pods.
    pub const POD_SECURITY_FORBIDDEN: &str = "PodSecurityForbidden";
    /// The port range has fewer blocks than pods.
    pub const PORT_RANGE_TOO_SMALL: &str = "PortRangeTooSmall";
    /// The certificate cannot be used.
    pub const INVALID_CERTIFICATE: &str = "InvalidCertificate";

    // ResolvedRefs.
    /// A Secret that it names does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A Secret that it names lacks a key.
    pub const SECRET_KEY_MISSING: &str = "SecretKeyMissing";
    /// An Agent that it names does not exist.
    pub const AGENT_NOT_FOUND: &str = "AgentNotFound";
    /// A Trunk that it names does not exist.
    pub const TRUNK_NOT_FOUND: &str = "TrunkNotFound";
    /// A certificate authority that it names does not exist.
    pub const CA_NOT_FOUND: &str = "CANotFound";

    // Programmed.
    /// Not all pods have the configuration yet.
    pub const PENDING: &str = "Pending";
    /// Pods (or a registrar) refused; the message has their words.
    pub const REJECTED: &str = "Rejected";
    /// There is no pod to have it.
    pub const NO_PODS: &str = "NoPods";

    // Reachable.
    /// The carrier does not answer OPTIONS.
    pub const OPTIONS_TIMEOUT: &str = "OptionsTimeout";
    /// TLS with the carrier cannot be set up.
    pub const TLS_HANDSHAKE_FAILED: &str = "TLSHandshakeFailed";
    /// The carrier's name is not known to DNS.
    pub const DNS_FAILED: &str = "DNSFailed";
    /// Nobody asked: checks are off.
    pub const DISABLED: &str = "Disabled";
    /// The carrier is not asked, and the address that it is told leads some pod not back to itself;
    /// many networks let nobody reach himself from outside.
    pub const SELF_CHECK_FAILED: &str = "SelfCheckFailed";
    /// The agent takes no connection.
    pub const CONNECT_FAILED: &str = "ConnectFailed";
    /// Not tried yet.
    pub const NOT_PROBED: &str = "NotProbed";
    /// A private address is shown to a public carrier.
    pub const PRIVATE_ADDRESS: &str = "PrivateAddress";

    // Registered, and Reachable of an agent.
    /// The credentials were refused.
    pub const AUTH_FAILED: &str = "AuthFailed";
    /// The registration ran out.
    pub const EXPIRED: &str = "Expired";

    // Progressing.
    /// New pods are replacing old ones.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// The image cannot be pulled.
    pub const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
    /// No node has room.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// New pods keep dying.
    pub const CRASH_LOOP: &str = "CrashLoop";

    // ScalingLimited.
    /// More pods would be needed than maxReplicas allows.
    pub const TOO_MANY_REPLICAS: &str = "TooManyReplicas";
    /// No block of the port range is free.
    pub const PORT_RANGE_EXHAUSTED: &str = "PortRangeExhausted";
    /// A pod does not tell its numbers.
    pub const METRICS_MISSING: &str = "MetricsMissing";

    // Ready of a pool.
    /// No pod is ready.
    pub const NO_READY_PODS: &str = "NoReadyPods";
    /// No pod knows its public address yet.
    pub const ADDRESS_PENDING: &str = "AddressPending";
}
