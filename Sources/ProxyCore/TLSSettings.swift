/// One certificate with its key, as PEM files.
public struct CertificateFiles: Sendable, Equatable {
    /// The certificate, then its chain.
    public var certificate: String
    /// The private key.
    public var key: String
    /// What the authority says of the certificate, in DER (RFC 6960), to be stapled.
    public var ocsp: String?

    /// Memberwise.
    public init(certificate: String, key: String, ocsp: String? = nil) {
        self.certificate = certificate
        self.key = key
        self.ocsp = ocsp
    }
}

/// What is spoken within TLS, by its name in ALPN (RFC 7301).
public enum ApplicationProtocol: String, Sendable, CaseIterable {
    /// HTTP/2.
    case http2 = "h2"
    /// HTTP/1.1; also what a client means that names no protocol.
    case http1 = "http/1.1"
}

/// Versions and ciphers, as Mozilla's guidelines group them.
public enum TLSProfile: String, Sendable {
    /// TLS 1.2 with forward secrecy and AEAD, and TLS 1.3.
    case intermediate
    /// TLS 1.3 alone.
    case modern
}

/// Which client certificates are asked for, and who vouches for them.
public struct ClientCertificateFiles: Sendable, Equatable {
    /// Whether there is no connection without one.
    public var isRequired: Bool
    /// PEM file of the authorities.
    public var authorities: String
    /// PEM file with a revocation list of each authority; `nil`: nothing is revoked.
    public var revocations: String?
    /// The most authorities between the certificate and one of `authorities`.
    public var depth: Int

    /// Memberwise.
    public init(isRequired: Bool, authorities: String, revocations: String? = nil, depth: Int = 3) {
        self.isRequired = isRequired
        self.authorities = authorities
        self.revocations = revocations
        self.depth = depth
    }
}

/// What a connection has to fulfil to carry requests for certain hosts.
public struct TLSRules: Sendable, Equatable {
    /// Versions and ciphers.
    public var profile: TLSProfile
    /// `nil`: none are asked for.
    public var clientCertificates: ClientCertificateFiles?

    /// Memberwise.
    public init(profile: TLSProfile = .intermediate, clientCertificates: ClientCertificateFiles? = nil) {
        self.profile = profile
        self.clientCertificates = clientCertificates
    }
}

/// Hosts with rules of their own.
public struct TLSHosts: Sendable, Equatable {
    /// Lower case; a leading `*.` stands for one or more labels.
    public var names: [String]
    /// What holds for them.
    public var rules: TLSRules

    /// Memberwise.
    public init(names: [String], rules: TLSRules) {
        self.names = names
        self.rules = rules
    }
}

/// How a listener speaks TLS.
public struct TLSSettings: Sendable, Equatable {
    /// Chosen by the name asked for; the first one answers where none fits. At least one.
    public var certificates: [CertificateFiles]
    /// The first that the client has is chosen. At least one.
    public var protocols: [ApplicationProtocol]
    /// For every host that `hosts` does not name.
    public var rules: TLSRules
    /// An exact name comes before the longest `*.`.
    public var hosts: [TLSHosts]

    /// Memberwise.
    public init(
        certificates: [CertificateFiles], protocols: [ApplicationProtocol] = [.http1], rules: TLSRules = TLSRules(),
        hosts: [TLSHosts] = []
    ) {
        self.certificates = certificates
        self.protocols = protocols
        self.rules = rules
        self.hosts = hosts
    }
}
