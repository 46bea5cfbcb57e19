import GatewayConfig
import IdentityModel

/// Names a subject to an application: complete field lines, rendered once for each verified credential and kept with it.
///
/// No value can hold a byte outside 0x20 to 0x7E, whatever the claims hold.
enum IdentityHeaders {
    /// The lines, each with its CRLF; a claim that is absent or empty has none.
    ///
    /// `nil` where the subject's name could be that of another source: then the credential counts as invalid.
    static func block(
        _ claims: SubjectClaims, kind: CredentialKind, preset: GatewayConfiguration.Route.HeaderPreset,
        prefix: SourcePrefix = .none
    ) -> [UInt8]? {
        guard let username = prefix.applied(to: claims.username),
            let subject = prefix.applied(to: claims.subject.identifier)
        else { return nil }
        let user: [UInt8]? = claims.username.isEmpty ? nil : username
        let name = claims.displayName.map { Array($0.utf8) }
        let email = claims.email.map { Array($0.utf8) }
        var fields = IdentityFieldWriter()
        switch preset {
        case .auth:
            fields.add("X-Auth-User", user, claim: "user")
            fields.add("X-Auth-Subject", claims.subject.identifier.isEmpty ? nil : subject, claim: "subject")
            fields.add("X-Auth-Name", name, claim: "name")
            fields.add("X-Auth-Email", email, claim: "email")
            fields.add("X-Auth-Roles", list: claims.roles.map(\.name).sorted(), claim: "roles")
            fields.add("X-Auth-Scopes", list: claims.scopes.map(\.name).sorted(), claim: "scopes")
            fields.add("X-Auth-Groups", list: claims.groups, claim: "groups")
            fields.add("X-Auth-Tenant", claims.tenant.map { Array($0.utf8) }, claim: "tenant")
            fields.add("X-Auth-Method", Array(kind.rawValue.utf8), claim: "method")
        case .remoteUser:
            fields.add("Remote-User", user, claim: "user")
        case .oauth2Proxy:
            fields.add("X-Forwarded-User", user, claim: "user")
            fields.add("X-Forwarded-Email", email, claim: "email")
            fields.add("X-Forwarded-Groups", list: claims.groups, claim: "groups")
            fields.add("X-Forwarded-Preferred-Username", user, claim: "user")
        case .authelia:
            fields.add("Remote-User", user, claim: "user")
            fields.add("Remote-Groups", list: claims.groups, claim: "groups")
            fields.add("Remote-Name", name, claim: "name")
            fields.add("Remote-Email", email, claim: "email")
        case .authentik:
            fields.add("X-authentik-username", user, claim: "user")
            fields.add("X-authentik-groups", list: claims.groups, separator: UInt8(ascii: "|"), claim: "groups")
            fields.add("X-authentik-email", email, claim: "email")
            fields.add("X-authentik-name", name, claim: "name")
            fields.add("X-authentik-uid", claims.subject.identifier.isEmpty ? nil : subject, claim: "subject")
        }
        return fields.finished()
    }

    /// The longest value, encoded. A longer one is left out and named in `X-Auth-Truncated`: half a list of groups
    /// would be another list.
    static let valueBytesMax = 4096
}

/// Writes field lines whose values cannot break out of their line.
private struct IdentityFieldWriter {
    private var bytes: [UInt8] = []
    private var truncated: [String] = []

    mutating func add(_ name: String, _ value: [UInt8]?, claim: String) {
        guard let value else { return }
        append(name, IdentityFieldWriter.encoded(value[...]), claim: claim)
    }

    /// Empty items are left out: they would read as none, or as a mistake.
    mutating func add(_ name: String, list: [String], separator: UInt8 = UInt8(ascii: ","), claim: String) {
        let items = list.filter { !$0.isEmpty }.map {
            IdentityFieldWriter.encoded(Array($0.utf8)[...], separator: separator)
        }
        append(name, Array(items.joined(separator: [separator])), claim: claim)
    }

    consuming func finished() -> [UInt8] {
        if !truncated.isEmpty { append("X-Auth-Truncated", Array(truncated.joined(separator: ",").utf8), claim: "") }
        return bytes
    }

    private mutating func append(_ name: String, _ value: [UInt8], claim: String) {
        guard !value.isEmpty else { return }
        guard value.count <= IdentityHeaders.valueBytesMax else {
            if !truncated.contains(claim) { truncated.append(claim) }
            return
        }
        bytes += name.utf8
        bytes += ": ".utf8
        bytes += value
        bytes += "\r\n".utf8
    }

    /// Percent-encodes what must not stand in a value. A blank at either end is encoded too: recipients strip it
    /// (RFC 9112 section 5.1), and would take ` admin` for `admin`.
    private static func encoded(_ value: ArraySlice<UInt8>, separator: UInt8? = nil) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(value.count)
        for (index, byte) in zip(value.indices, value) {
            let isEdge = index == value.startIndex || index == value.endIndex - 1
            let isPlain = (0x20...0x7E).contains(byte) && byte != UInt8(ascii: "%") && byte != separator
            if isPlain && !(isEdge && byte == 0x20) { output.append(byte) } else { appendEscape(of: byte, to: &output) }
        }
        return output
    }
}
