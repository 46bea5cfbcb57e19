public import IdentityModel

/// Where something stands in the configuration file.
public struct SourceLocation: Sendable, Equatable {
    /// The key path, such as `routes[2].rules[0].require`.
    public var path: String
    /// Counted from 1; 0 where a line makes no sense.
    public var line: Int
    /// In characters, counted from 1.
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
    /// Bytes of memory for connections, requests and bodies under way; `nil`: half of what the process may have.
    public var memoryBytesMax: Int?
    /// The user, and optionally group, to become after binding.
    public var user: RunAs?
    /// Peers whose `X-Forwarded-*` fields count; nobody by default.
    public var trustedProxies: [Peers]
    /// How long the gateway goes on accepting after readiness turned false.
    public var drainDelay: Duration
    /// How long a stop waits for exchanges in flight.
    public var stopTimeout: Duration
    /// Where events go.
    public var log: Log
    /// The listener for operators.
    public var admin: Admin
    /// Session tickets of all listeners with TLS.
    public var tickets: Tickets
    /// The addresses to accept on; at least one.
    public var listeners: [Listener]
    /// The applications behind the gateway, in the order of the file.
    public var upstreams: [Upstream]
    /// Where bodies wait on routes that buffer them.
    public var buffering: Buffering
    /// How subjects prove who they are.
    public var authentication: Authentication
    /// Scopes that each role grants.
    public var roles: [Role: Set<Scope>]
    /// The shared store, where one is configured.
    public var redis: RedisStore?
    /// Named limits, in the order of the file.
    public var limits: [Limit]
    /// The identity service in this program.
    public var identity: Identity
    /// Fields that tell browsers to be strict, where no route says otherwise.
    public var securityHeaders: SecurityHeaders
    /// What is let through; the order means nothing.
    public var routes: [Route]
    /// Expectations of the file about its routes.
    public var tests: [RouteTest]

    /// A user, and optionally a group, by name.
    public struct RunAs: Sendable, Equatable {
        /// The user's name.
        public var user: String
        /// The group's name; `nil` is the user's own.
        public var group: String?
    }

    /// A block of addresses; IPv4 is kept as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2).
    public struct AddressBlock: Sendable, Equatable {
        /// Network bytes, 16 of them.
        public var address: [UInt8]
        /// Prefix length counted in those 128 bits.
        public var prefixLength: Int
    }

    /// Peers that are meant by what their socket says.
    public enum Peers: Sendable, Equatable {
        /// Those with an address in this block.
        case network(AddressBlock)
        /// Those that come by a Unix socket.
        case unix
    }

    /// Where events go.
    public struct Log: Sendable, Equatable {
        /// Where the access log may go.
        public enum Destination: Sendable, Equatable {
            /// Nowhere.
            case off
            /// Standard output.
            case standardOutput
            /// A file, by its path.
            case file(String)
        }
        /// Where the access log goes.
        public var access: Destination
        /// The lowest level of the program's own events: debug, info, warning, error.
        public var level: String
    }

    /// The listener for operators.
    public struct Admin: Sendable, Equatable {
        /// `nil` switches the admin listener off.
        public var address: SocketAddress?
        /// Mode of the file, where the address is a Unix socket.
        public var mode: UInt32
    }

    /// An address as the file has it; names are not resolved here.
    public enum SocketAddress: Sendable, Equatable, Hashable {
        /// Host is an IPv4 or IPv6 address without brackets, or a DNS name; port 0 lets the kernel choose (listeners).
        case tcp(host: String, port: UInt16)
        case unix(path: String)
    }

    /// Of a Unix socket's file: nobody else may connect.
    static let socketModeByDefault: UInt32 = 0o600

    /// An address to accept on.
    public struct Listener: Sendable {
        /// Where it stands in the file.
        public var location: SourceLocation
        /// Where to accept: an IP address or a path, never a name.
        public var address: SocketAddress
        /// Mode of the file, where the address is a Unix socket.
        public var mode: UInt32
        /// TLS; `nil` is plain HTTP.
        public var tls: TLS?
        /// Answer every request with a redirect to HTTPS on this port.
        public var redirectToHTTPSPort: UInt16?
        /// The port that clients see, where it is not the address's.
        public var publicPort: UInt16?
        /// Open connections, over all workers.
        public var connectionsMax: Int
        /// Open connections of one client address; `nil`: as many as there may be at all.
        public var connectionsPerAddressMax: Int?
        /// TLS handshakes under way, over all workers.
        public var handshakesMax: Int
        /// Peers that say by the PROXY protocol whose a connection is; empty: it is not spoken.
        public var proxyProtocol: [Peers]
        /// The longest wait for a finished TLS handshake.
        public var handshakeTimeout: Duration
        /// The longest wait for a complete request head.
        public var headTimeout: Duration
        /// The longest silence while a request body is being read.
        public var bodyTimeout: Duration
        /// The slowest that a request body may come, in bytes for each second, averaged over `bodyTimeout`.
        public var bodyRateMin: Int
        /// The longest time from a complete head to the end of the answer; `nil` is no bound.
        public var requestTimeout: Duration?
        /// How long a connection may wait for its next request.
        public var idleTimeout: Duration
        /// The longest time an upgraded connection may be silent in both directions.
        public var tunnelIdleTimeout: Duration
        /// Request line and fields together.
        public var headBytesMax: Int
        /// Fields of one request head.
        public var fieldsMax: Int
        /// Total bytes of chunk extensions in one message.
        public var chunkExtensionBytesMax: Int
        /// Bounds of HTTP/2 connections.
        public var http2: HTTP2
        /// Lets paths through that are not UTF-8 once decoded.
        public var allowInvalidUTF8: Bool
        /// What happens to field names with `_`.
        public var underscoreHeaders: UnderscoreHeaders
    }

    /// Bounds of one HTTP/2 connection.
    public struct HTTP2: Sendable {
        /// Streams that may be under way at once.
        public var streamsMax: Int
        /// Body bytes that a client may send on one stream before they have gone on.
        public var streamWindow: Int
        /// Units of the glitch account at which the connection ends.
        public var glitchesMax: Int
    }

    /// What happens to a field name with `_` that is no alias of a protected one.
    public enum UnderscoreHeaders: String, Sendable, CaseIterable { case drop, refuse, pass }

    /// How a listener speaks TLS.
    public struct TLS: Sendable {
        /// A certificate and its key.
        public struct Certificate: Sendable, Equatable {
            /// Where it stands in the file.
            public var location: SourceLocation
            /// PEM file with the certificate and its chain.
            public var certificate: String
            /// PEM file with the private key.
            public var key: String
            /// File with an OCSP response in DER, to be stapled.
            public var ocsp: String?
        }
        /// Mozilla's profiles.
        public enum Profile: String, Sendable, CaseIterable { case intermediate, modern }
        /// Protocols by their names in ALPN (RFC 7301).
        public enum ApplicationProtocol: String, Sendable, CaseIterable { case http2 = "h2", http1 = "http/1.1" }
        /// What connections must fulfil to carry requests for certain hosts.
        public struct Rules: Sendable, Equatable {
            /// Versions and ciphers.
            public var profile: Profile
            /// `nil`: none are asked for.
            public var clientCertificates: ClientCertificates?
        }
        /// Hosts with rules of their own.
        public struct Hosts: Sendable, Equatable {
            /// Where they stand in the file.
            public var location: SourceLocation
            /// Lower case; a leading `*.` stands for one or more labels.
            public var names: [String]
            /// What holds for them.
            public var rules: Rules
        }
        /// Certificates that clients show.
        public struct ClientCertificates: Sendable, Equatable {
            /// Whether there is a connection without one.
            public enum Mode: String, Sendable, CaseIterable { case request, require }
            /// What of a certificate names its subject.
            public enum Identifier: String, Sendable, CaseIterable {
                case uri = "san_uri"
                case email = "san_email"
                case dns = "san_dns"
                case commonName = "subject_cn"
            }
            /// Where they stand in the file.
            public var location: SourceLocation
            /// Whether there is a connection without one.
            public var mode: Mode
            /// PEM file of those who vouch for clients.
            public var authorities: String
            /// PEM file of revocation lists.
            public var revocations: String?
            /// The most authorities between a certificate and one of `authorities`.
            public var depth: Int
            /// The issuer of the subjects; `nil`: the issuer's name in the certificate.
            public var issuer: String?
            /// The first that the certificate has names the subject.
            public var identifier: [Identifier]
            /// The roles of the subjects.
            public var roles: Set<Role>
            /// Stands before the names of the subjects.
            public var prefix: String?
        }

        /// The first one answers where no name fits.
        public var certificates: [Certificate]
        /// What is spoken within TLS: the first that the client has too is chosen. At least one, each once.
        public var protocols: [ApplicationProtocol]
        /// For every host that `hosts` does not name.
        public var rules: Rules
        /// Hosts with rules of their own.
        public var hosts: [Hosts]

        /// Those of a listener that names none.
        public static let protocolsByDefault = ApplicationProtocol.allCases
    }

    /// Session tickets of all listeners with TLS.
    public struct Tickets: Sendable, Equatable {
        /// How often the process's own key changes.
        public var rotation: Duration
        /// File of the keys, where nodes share them.
        public var keysPath: String?
    }

    /// An application behind the gateway.
    public struct Upstream: Sendable {
        /// Where it stands in the file.
        public var location: SourceLocation
        /// Its name.
        public var name: String
        /// Where it listens, taken in turn; at least one.
        public var endpoints: [SocketAddress]
        /// The longest wait for a connection to an endpoint.
        public var connectTimeout: Duration
        /// From the end of the request to the first byte of the answer.
        public var firstByteTimeout: Duration
        /// The longest silence within an answer.
        public var idleTimeout: Duration
        /// How long an idle connection is kept for reuse; zero closes it after each exchange.
        public var keepAliveTimeout: Duration
        /// Idle connections kept by each worker.
        public var keepAliveConnectionsMax: Int
        /// Exchanges that each endpoint has at a time, over all workers; `nil`: as many as come.
        public var exchangesMax: Int?
        /// Exchanges that may wait for a place, over all workers.
        public var queueMax: Int
        /// The longest such wait.
        public var queueTimeout: Duration
        /// Response status line and fields together.
        public var headBytesMax: Int
    }

    /// Where bodies wait on routes that buffer them. Sizes are in bytes.
    public struct Buffering: Sendable, Equatable {
        /// Where it stands in the file.
        public var location: SourceLocation
        /// What of one request body is kept in memory.
        public var requestMemoryBytesMax: Int
        /// What of one answer waits in memory.
        public var responseMemoryBytesMax: Int
        /// The largest file of one body; zero: bodies get none.
        public var fileBytesMax: Int
        /// The files of all bodies together.
        public var allFilesBytesMax: Int
        /// The folder of the files; `nil`: one of the gateway's own below a temporary one.
        public var folder: String?
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

    /// The session and its cookie.
    public struct SessionCookie: Sendable {
        /// Where it stands in the file.
        public var location: SourceLocation
        /// `nil`: `__Host-gateway_session` with TLS and without `domain`, else `gateway_session`.
        public var cookieName: String?
        /// The domain that shares the cookie, without a leading dot; `nil` is the host alone.
        public var domain: String?
        /// Whether the cookie is for TLS alone; `nil`: whether a listener has TLS.
        public var isSecure: Bool?
        /// An absolute URL of the sign-in page, where it is on another host; else `/auth/login` on this one.
        public var loginURL: String?
        /// A session that is not used for this long ends.
        public var idleTimeout: Duration
        /// A session ends after this long whatever happens.
        public var lifetime: Duration
        /// Sessions remembered by each worker.
        public var cacheEntriesMax: Int
        /// The longest time a worker believes a session without asking the store.
        public var cacheTTL: Duration
    }

    /// Signatures of tokens (RFC 7518 section 3.1, RFC 8037 section 3.1).
    public enum SignatureAlgorithm: String, Sendable, CaseIterable { case ES256, RS256, EdDSA, HS256 }

    /// An issuer whose tokens count.
    public struct TokenIssuer: Sendable {
        /// Where its keys come from.
        public enum Keys: Sendable {
            /// The gateway's own signing keys.
            case identity
            /// A file, by its path.
            case file(String)
            /// The URL of a JWK set, and the PEM file of the authorities that vouch for it; `nil` trusts the system's.
            case url(String, authorities: String?)
            /// For HS256 alone.
            case secret(Secret<[UInt8]>)
        }
        /// Where it stands in the file.
        public var location: SourceLocation
        /// The `iss` that its tokens must have.
        public var issuer: String
        /// One of these must be among the `aud` of a token.
        public var audiences: [String]
        /// Where its keys come from.
        public var keys: Keys
        /// The signatures accepted; they fit the keys.
        public var algorithms: [SignatureAlgorithm]
        /// How far the issuer's clock may be off.
        public var clockSkew: Duration
        /// How often a JWKS URL is asked again.
        public var refreshInterval: Duration
        /// The claim that becomes `X-Auth-User`.
        public var usernameClaim: String
        /// The claim that lists roles.
        public var rolesClaim: String
        /// The claim that lists groups.
        public var groupsClaim: String
        /// Put before the user's name, so that two sources cannot name one user.
        public var prefix: String?
    }

    /// A Redis server.
    public struct RedisStore: Sendable {
        /// Where it stands in the file.
        public var location: SourceLocation
        /// Its address or name.
        public var host: String
        /// Its TCP port.
        public var port: UInt16
        /// The number for `SELECT`.
        public var database: Int
        /// The user for `AUTH`; `nil` is the default one.
        public var username: String?
        /// The password for `AUTH`.
        public var password: Secret<String>?
        /// How long a command may take before the store counts as away.
        public var timeout: Duration
    }

    /// A configured rule for how often.
    public struct Limit: Sendable {
        /// What is counted.
        public enum Key: String, Sendable, CaseIterable { case address, subject, route }
        /// Where counts are kept.
        public enum Store: String, Sendable, CaseIterable { case memory, redis }
        /// What holds while the store is away.
        public enum OnStoreError: String, Sendable, CaseIterable { case allow, deny, local }
        /// Where it stands in the file.
        public var location: SourceLocation
        /// Its name.
        public var name: String
        /// Permitted requests in each period.
        public var count: Int
        /// The length of the period.
        public var period: Duration
        /// How many may come at once.
        public var burst: Int
        /// What is counted.
        public var key: Key
        /// Where counts are kept.
        public var store: Store
        /// What holds while the store is away.
        public var onStoreError: OnStoreError
    }

    /// The identity service in this program.
    public struct Identity: Sendable {
        /// Where it stands in the file.
        public var location: SourceLocation
        /// Path of the SQLite file.
        public var databasePath: String
        /// `iss` of our own tokens and issuer of our sessions' subjects.
        public var issuer: String
        /// Whether `POST /api/auth/login` returns the session's token in its body.
        public var exposeSessionToken: Bool
        /// Whether `GET /api/auth/verify` without a session is 200 with `authenticated: false`, or 401.
        public var verifyWithoutSession: VerifyWithoutSession
        /// Answers to a question about no session.
        public enum VerifyWithoutSession: String, Sendable, CaseIterable { case ok = "200", unauthorized = "401" }
        /// Life of minted tokens.
        public var tokenLifetime: Duration
        /// Audience of minted tokens unless the command names one.
        public var tokenAudience: String
    }

    /// A match, and what holds for it.
    public struct Route: Sendable {
        /// Where requests go.
        public enum Target: Sendable, Equatable {
            /// An upstream, by its name.
            case upstream(String)
            /// The identity service in this binary.
            case identity
        }
        /// Who may use the route.
        public enum Access: Sendable, Equatable {
            /// Reads no credential and writes no identity.
            case open
            /// Reads credentials, goes on without any, but not with a wrong one.
            case optional
            /// The first rule whose methods match decides; at least one.
            case rules([Rule])
        }
        /// How the subject is named to the application.
        public enum HeaderPreset: String, Sendable, CaseIterable {
            case auth = "x-auth"
            case remoteUser = "remote-user"
            case oauth2Proxy = "oauth2-proxy"
            case authelia, authentik
        }
        /// Where it stands in the file.
        public var location: SourceLocation
        /// The name in logs and metrics; host and path unless given.
        public var name: String
        /// `nil`: every host; a leading `*.` stands for one or more labels. Lower case, no trailing dot.
        public var host: String?
        /// As written, checked: absolute, `*` for one segment, a final `**` for the rest.
        public var path: String
        /// Where requests go.
        public var target: Target
        /// Who may use it.
        public var access: Access
        /// Credentials that the route accepts; empty on open routes.
        public var credentials: [CredentialKind]
        /// Names of limits that hold for the whole route.
        public var limits: [String]
        /// How the subject is named to the application.
        public var headers: HeaderPreset
        /// Passes on the credential that was used up here.
        public var forwardCredential: Bool
        /// Lets CORS preflights through without identity.
        public var preflightPass: Bool
        /// Encoded bytes let through, out of `%2F`, `%5C`, `%00` and encoded control bytes.
        public var allowEncoded: Set<UInt8>
        /// The longest request body; `nil` is no bound.
        public var bodyBytesMax: Int?
        /// Reads the whole request body before the application sees the request.
        public var bufferRequest: Bool
        /// Takes answers from the application as fast as it gives them.
        public var bufferResponse: Bool
        /// The longest time from a complete head to the end of the answer; `nil` is that of the listener.
        public var requestTimeout: Duration?
        /// Names of trailer fields that the application gets, lower case.
        public var requestTrailers: [String]
        /// Names of trailer fields that the client gets, lower case.
        public var responseTrailers: [String]
        /// Fields that tell browsers to be strict; those at the top of the file are among them.
        public var securityHeaders: SecurityHeaders
    }

    /// Fields of answers that tell browsers to be strict; each is left out unless it is set.
    public struct SecurityHeaders: Sendable, Equatable {
        /// `max-age` of `Strict-Transport-Security`; `nil`: the field is not sent.
        public var hstsMaxAge: Duration?
        /// `includeSubDomains`.
        public var hstsIncludesSubdomains = false
        /// `preload`.
        public var hstsPreloads = false
        /// `X-Content-Type-Options: nosniff`.
        public var forbidsSniffing = false
        /// `X-Frame-Options`.
        public var frameOptions: String?
        /// `Referrer-Policy`.
        public var referrerPolicy: String?
        /// `Content-Security-Policy`.
        public var contentSecurityPolicy: String?
        /// `Permissions-Policy`.
        public var permissionsPolicy: String?
        /// Replaces what an application has sent itself.
        public var replacesExisting = false

        /// None.
        public init() {}
    }

    /// What requests of some methods need.
    public struct Rule: Sendable, Equatable {
        /// Where it stands in the file.
        public var location: SourceLocation
        /// `nil`: every method. GET covers HEAD.
        public var methods: [String]?
        /// What is asked of the subject.
        public var require: Requirement
        /// Names of limits that hold for the rule.
        public var limits: [String]
    }

    /// An expectation from the file, run by `check` and before each reload.
    public struct RouteTest: Sendable {
        /// What a test may expect.
        public enum Expectation: Sendable, Equatable {
            /// A decision.
            case allow, challenge, deny
            /// A status of the answer.
            case status(Int)
        }
        /// Where it stands in the file.
        public var location: SourceLocation
        /// The method, in capitals.
        public var method: String
        /// An absolute URL, in the spelling of the file.
        public var url: String
        /// Scopes held, those of the roles included; `nil`: nobody asks.
        public var scopes: Set<Scope>?
        /// Roles held.
        public var roles: Set<Role>
        /// What should come of it.
        public var expect: Expectation
    }
}

extension GatewayConfiguration {
    /// Whether anything needs the identity service and its database: a session cookie, own tokens, or a route to it.
    public var usesIdentityService: Bool {
        routes.contains { $0.target == .identity || $0.credentials.contains(.session) }
            || authentication.jwt.contains(where: \.isOwn)
    }
}
