public import IdentityModel

/// What of a file could be read, for `check`, which goes on where another part is wrong.
///
/// Nothing can be served from it: it lacks most of what serving needs, and a snapshot is made of a
/// `GatewayConfiguration` alone, which exists only where nothing is wrong.
public struct ConfigurationParts: Sendable {
    /// A file that the configuration names, and where it does so.
    public struct File: Sendable, Equatable {
        /// As the process opens it.
        public var path: String
        /// Where it is named.
        public var location: SourceLocation
    }

    /// A certificate and its key; `nil` stands for a file with which something is wrong already.
    public struct CertificatePair: Sendable {
        /// PEM file with the certificate and its chain.
        public var certificate: File?
        /// PEM file with the private key.
        public var key: File?
        /// File with an OCSP response for the certificate, where one is named and could be read.
        public var ocsp: File?
    }

    /// A JWKS file and what is wanted of its keys.
    public struct KeySet: Sendable {
        /// The file.
        public var file: File
        /// The signatures that its keys should verify.
        public var algorithms: [GatewayConfiguration.SignatureAlgorithm]
    }

    /// A secret for HS256.
    public struct SharedSecret: Sendable {
        /// Its bytes.
        public var secret: Secret<[UInt8]>
        /// Where it, or the file that holds it, is named.
        public var location: SourceLocation
    }

    /// A route whose host and path could be read.
    public struct RoutePart: Sendable {
        /// The route; where something is wrong with it, a stand-in that is matched as it is and lets nobody in.
        public var route: GatewayConfiguration.Route
        /// Whether nothing is wrong with it.
        public var isSound: Bool
    }

    /// The account to become, and where it is named.
    public struct Account: Sendable {
        /// The user, and optionally group.
        public var names: GatewayConfiguration.RunAs
        /// Where it is named.
        public var location: SourceLocation
    }

    /// Routes whose host and path could be read, in the order of the file.
    public internal(set) var routes: [RoutePart] = []
    /// Host patterns of the routes that could not be read; `nil` may be any host. Nobody knows what these hosts answer.
    public internal(set) var unreadHosts: [String?] = []
    /// Every upstream that the file names, sound or not.
    public internal(set) var upstreamNames: [String] = []
    /// The scopes of the roles that could be read.
    public internal(set) var roles: [Role: Set<Scope>] = [:]
    /// Tests that could be read, and so could the roles that they name.
    public internal(set) var tests: [GatewayConfiguration.RouteTest] = []
    /// The certificates of every listener.
    public internal(set) var certificates: [CertificatePair] = []
    /// The JWKS files that could be read.
    public internal(set) var keySets: [KeySet] = []
    /// The secrets that could be read.
    public internal(set) var secrets: [SharedSecret] = []
    /// PEM files of authorities that could be read.
    public internal(set) var authorities: [File] = []
    /// PEM files of revocation lists that could be read.
    public internal(set) var revocations: [File] = []
    /// The file of the keys of session tickets, where one is named and could be read.
    public internal(set) var ticketKeys: File?
    /// Everything that each reload reads again: this file first, then those that it names.
    public internal(set) var filesRead: [File] = []
    /// The access log's file, where it has one.
    public internal(set) var accessLog: File?
    /// The identity service's database.
    public internal(set) var database: File?
    /// The folder for files of bodies, where it is named.
    public internal(set) var bodyFolder: File?
    /// The Unix sockets to accept on.
    public internal(set) var sockets: [File] = []
    /// The account that the process becomes.
    public internal(set) var account: Account?
}
