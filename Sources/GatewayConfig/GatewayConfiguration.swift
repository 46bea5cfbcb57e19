public import IdentityModel

/// Where something stands in the configuration file.
public struct SourceLocation: Sendable, Equatable {
    /// The key path, such as `routes[2].rules[0].require`.
    public var path: String
    /// Line and column, counted from 1.
    public var line: Int
    public var column: Int

    /// Memberwise.
    public init(path: String, line: Int, column: Int) {
        self.path = path
        self.line = line
        self.column = column
    }
}

/// What `gateway.yaml` says, complete and in range; every default is filled in.
///
/// Names have been checked against each other (a route's upstream exists); what needs the route table, such as two
/// routes that tie, is checked by `AuthGateway`, which finds the places in the `location` members.
public struct GatewayConfiguration: Sendable {
    /// Worker threads; `nil` is one for each core.
    public var workers: Int?
    /// The user, and optionally group, to become after binding.
    public var user: RunAs?
    /// Peers whose `X-Forwarded-*` fields count; nobody by default.
    public var trustedProxies: [AddressBlock]
    /// How long the gateway goes on accepting after readiness turned false.
    public var drainDelay: Duration
    /// How long a stop waits for exchanges in flight.
    public var stopTimeout: Duration
    public var log: Log
    public var admin: Admin
    public var listeners: [Listener]
    public var upstreams: [Upstream]
    public var authentication: Authentication
    /// Scopes that each role grants.
    public var roles: [Role: Set<Scope>]
    public var redis: RedisStore?
    public var limits: [Limit]
    public var identity: Identity
    public var routes: [Route]
    public var tests: [RouteTest]

    public struct RunAs: Sendable, Equatable {
        public var user: String
        public var group: String?
    }

    /// A block of addresses; IPv4 is kept as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2).
    public struct AddressBlock: Sendable, Equatable {
        /// Network bytes, 16 of them.
        public var address: [UInt8]
        /// Prefix length counted in those 128 bits.
        public var prefixLength: Int
    }

    public struct Log: Sendable, Equatable {
        public enum Destination: Sendable, Equatable {
            case off
            case standardOutput
            case file(String)
        }
        /// Where the access log goes.
        public var access: Destination
        /// The lowest level of the program's own events: debug, info, warning, error.
        public var level: String
    }

    public struct Admin: Sendable, Equatable {
        /// `nil` switches the admin listener off.
        public var address: SocketAddress?
    }

    /// An address as the file has it; names are not resolved here.
    public enum SocketAddress: Sendable, Equatable, Hashable {
        /// Host is an IPv4 or IPv6 address without brackets, or a DNS name; port 0 lets the kernel choose (listeners).
        case tcp(host: String, port: UInt16)
        case unix(path: String)
    }

    public struct Listener: Sendable {
        public var location: SourceLocation
        public var address: SocketAddress
        public var tls: TLS?
        /// Answer every request with a redirect to HTTPS on this port.
        public var redirectToHTTPSPort: UInt16?
        public var connectionsMax: Int
        public var handshakeTimeout: Duration
        public var headTimeout: Duration
        /// The longest silence while a request body is being read.
        public var bodyTimeout: Duration
        /// How long a connection may wait for its next request.
        public var idleTimeout: Duration
        /// The longest time an upgraded connection may be silent in both directions.
        public var tunnelIdleTimeout: Duration
        /// Request line and fields together.
        public var headBytesMax: Int
        public var fieldsMax: Int
        /// Total bytes of chunk extensions in one message.
        public var chunkExtensionBytesMax: Int
        public var allowInvalidUTF8: Bool
        public var underscoreHeaders: UnderscoreHeaders
    }

    /// What happens to a field name with `_` that is no alias of a protected one.
    public enum UnderscoreHeaders: String, Sendable, CaseIterable { case drop, refuse, pass }

    public struct TLS: Sendable {
        public struct Certificate: Sendable, Equatable {
            public var location: SourceLocation
            /// PEM file with the certificate and its chain.
            public var certificate: String
            /// PEM file with the private key.
            public var key: String
        }
        /// The first one answers where no name fits.
        public var certificates: [Certificate]
        public var minimumVersion: Version
        public enum Version: String, Sendable, CaseIterable { case tls12 = "1.2", tls13 = "1.3" }
    }

    public struct Upstream: Sendable {
        public var location: SourceLocation
        public var name: String
        public var endpoints: [SocketAddress]
        public var connectTimeout: Duration
        /// From the end of the request to the first byte of the answer.
        public var firstByteTimeout: Duration
        /// The longest silence within an answer.
        public var idleTimeout: Duration
        /// How long an idle connection is kept for reuse; zero closes it after each exchange.
        public var keepAliveTimeout: Duration
        /// Idle connections kept by each worker.
        public var keepAliveConnectionsMax: Int
        /// Response status line and fields together.
        public var headBytesMax: Int
    }

    /// How subjects prove who they are.
    public struct Authentication: Sendable {
        /// The session cookie.
        public var session: SessionCookie
        /// Issuers whose tokens count; each issuer once.
        public var jwt: [TokenIssuer]
        /// Verified tokens remembered by each worker, over all issuers.
        public var jwtCacheEntriesMax: Int
    }

    public struct SessionCookie: Sendable {
        public var location: SourceLocation
        /// `nil`: `__Host-gateway_session` with TLS and without `domain`, else `gateway_session`.
        public var cookieName: String?
        public var domain: String?
        /// An absolute URL of the sign-in page, where it is on another host; else `/auth/login` on this one.
        public var loginURL: String?
        public var idleTimeout: Duration
        public var lifetime: Duration
        /// Sessions remembered by each worker.
        public var cacheEntriesMax: Int
        /// The longest time a worker believes a session without asking the store.
        public var cacheTTL: Duration
    }

    public enum SignatureAlgorithm: String, Sendable, CaseIterable { case ES256, RS256, EdDSA, HS256 }

    public struct TokenIssuer: Sendable {
        public enum Keys: Sendable {
            /// The gateway's own signing keys.
            case identity
            case file(String)
            case url(String)
            /// For HS256 alone.
            case secret(Secret<[UInt8]>)
        }
        public var location: SourceLocation
        public var issuer: String
        public var audiences: [String]
        public var keys: Keys
        public var algorithms: [SignatureAlgorithm]
        public var clockSkew: Duration
        /// How often a JWKS URL is asked again.
        public var refreshInterval: Duration
        /// The claim that becomes `X-Auth-User`.
        public var usernameClaim: String
        public var rolesClaim: String
        public var groupsClaim: String
        /// Put before the user's name, so that two sources cannot name one user.
        public var prefix: String?
    }

    public struct RedisStore: Sendable {
        public var location: SourceLocation
        public var host: String
        public var port: UInt16
        public var database: Int
        public var username: String?
        public var password: Secret<String>?
        /// How long a command may take before the store counts as away.
        public var timeout: Duration
    }

    public struct Limit: Sendable {
        public enum Key: String, Sendable, CaseIterable { case address, subject, route }
        public enum Store: String, Sendable, CaseIterable { case memory, redis }
        public enum OnStoreError: String, Sendable, CaseIterable { case allow, deny, local }
        public var location: SourceLocation
        public var name: String
        /// Permitted requests in each period.
        public var count: Int
        public var period: Duration
        public var burst: Int
        public var key: Key
        public var store: Store
        public var onStoreError: OnStoreError
    }

    public struct Identity: Sendable {
        public var location: SourceLocation
        /// Path of the SQLite file.
        public var databasePath: String
        /// `iss` of our own tokens and issuer of our sessions' subjects.
        public var issuer: String
        /// Whether `POST /api/auth/login` returns the session's token in its body.
        public var exposeSessionToken: Bool
        /// Whether `GET /api/auth/verify` without a session is 200 with `authenticated: false`, or 401.
        public var verifyWithoutSession: VerifyWithoutSession
        public enum VerifyWithoutSession: String, Sendable, CaseIterable { case ok = "200", unauthorized = "401" }
        public var tokenLifetime: Duration
        /// Audience of minted tokens unless the command names one.
        public var tokenAudience: String
    }

    public struct Route: Sendable {
        public enum Target: Sendable, Equatable {
            case upstream(String)
            /// The identity service in this binary.
            case identity
        }
        public enum Access: Sendable, Equatable {
            /// Reads no credential and writes no identity.
            case open
            /// Reads credentials, goes on without any, but not with a wrong one.
            case optional
            case rules([Rule])
        }
        /// How the subject is named to the application.
        public enum HeaderPreset: String, Sendable, CaseIterable {
            case auth = "x-auth"
            case remoteUser = "remote-user"
            case oauth2Proxy = "oauth2-proxy"
            case authelia, authentik
        }
        public var location: SourceLocation
        /// The name in logs and metrics; host and path unless given.
        public var name: String
        /// `nil`: every host; a leading `*.` stands for one or more labels. Lower case, no trailing dot.
        public var host: String?
        /// As written, checked: absolute, `*` for one segment, a final `**` for the rest.
        public var path: String
        public var target: Target
        public var access: Access
        /// Credentials that the route accepts; empty on open routes.
        public var credentials: [CredentialKind]
        /// Names of limits that hold for the whole route.
        public var limits: [String]
        public var headers: HeaderPreset
        public var forwardCredential: Bool
        public var preflightPass: Bool
        /// Encoded bytes let through, out of `%2F`, `%5C`, `%00` and encoded control bytes.
        public var allowEncoded: Set<UInt8>
        public var bodyBytesMax: Int?
    }

    public struct Rule: Sendable, Equatable {
        public var location: SourceLocation
        /// `nil`: every method. GET covers HEAD.
        public var methods: [String]?
        public var require: Requirement
        public var limits: [String]
    }

    /// An expectation from the file, run by `check` and before each reload.
    public struct RouteTest: Sendable {
        public enum Expectation: Sendable, Equatable {
            case allow, challenge, deny
            case status(Int)
        }
        public var location: SourceLocation
        public var method: String
        public var url: String
        /// `nil`: nobody.
        public var scopes: Set<Scope>?
        public var roles: Set<Role>
        public var expect: Expectation
    }
}
