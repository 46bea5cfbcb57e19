import GatewayConfig
import IdentityModel
import Policy
import ProxyCore

/// Whom the client certificates of one source name; the same for all workers. That they are valid was found in the
/// handshake.
final class CertificateAuthenticator: Sendable {
    private let rules: GatewayConfiguration.TLS.ClientCertificates
    private let prefix: SourcePrefix
    private let roleScopes: [Role: Set<Scope>]

    init(_ rules: GatewayConfiguration.TLS.ClientCertificates, in configuration: GatewayConfiguration) {
        self.rules = rules
        let others = configuration.clientCertificateSources.filter { !$0.isSameSource(rules) }.map(\.prefix)
        prefix = SourcePrefix(
            rules.prefix, others: others + configuration.authentication.jwt.map(\.prefix) + [nil])
        roleScopes = configuration.roles
    }

    func credential(for certificate: ClientCertificate) -> Result<Credential, CredentialRefusal> {
        let name: String
        switch identifier(of: certificate) {
        case .success(let found): name = found
        case .failure(let refusal): return .failure(refusal)
        }
        let given = SubjectClaims(
            subject: Subject(issuer: rules.issuer ?? certificate.issuer, identifier: name), username: name,
            email: certificate.emails.count == 1 ? certificate.emails.first : nil, roles: rules.roles)
        return .success(
            Credential(
                kind: .certificate, claims: given.completed(grants: roleScopes), usableFrom: 0,
                usableUntil: certificate.goodUntil, prefix: prefix))
    }

    /// The first kind of name that the certificate has, once. Of several names of a kind nobody can say which is meant.
    private func identifier(of certificate: ClientCertificate) -> Result<String, CredentialRefusal> {
        for kind in rules.identifier {
            let names =
                switch kind {
                case .uri: certificate.uris
                case .email: certificate.emails
                case .dns: certificate.dnsNames
                case .commonName: certificate.commonNames
                }
            guard let name = names.first else { continue }
            guard names.count == 1 else { return .failure(CredentialRefusal(.ambiguousName, nil)) }
            return .success(name)
        }
        return .failure(CredentialRefusal(.nameless, nil))
    }
}

/// The client certificates that one worker has seen under one snapshot, with what is rendered once for each.
final class CertificateCache {
    private struct Key: Hashable {
        let digest: [UInt8]
        let source: ObjectIdentifier
    }

    // The sources live as long as the snapshot, which this cache goes with.
    private var entries: BoundedCache<Key, Credential>

    init(entriesMax: Int) { entries = BoundedCache(entriesMax: entriesMax) }

    func credential(
        for certificate: ClientCertificate, by source: CertificateAuthenticator
    ) -> Result<Credential, CredentialRefusal> {
        let key = Key(digest: certificate.digest, source: ObjectIdentifier(source))
        if let known = entries.value(for: key) { return .success(known) }
        let result = source.credential(for: certificate)
        if case .success(let credential) = result { entries.insert(credential, for: key) }
        return result
    }
}
