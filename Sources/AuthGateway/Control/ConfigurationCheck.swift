import EventLoop
import GatewayConfig
import IdentityModel
import JOSE
import ProxyCore

/// Everything that has to hold for a configuration to be served: what reading it showed, its routes and tests, and the
/// content of the files that it names. Each part is looked at whatever is wrong with the others.
struct ConfigurationCheck {
    /// A configuration without errors, and its routes.
    typealias Sound = (configuration: GatewayConfiguration, routes: CompiledRoutes)

    /// Errors and warnings in the order of the file.
    let problems: [ConfigurationProblem]
    /// `nil` where one of the problems is an error: only what stands here may be served.
    let sound: Sound?

    init(_ result: ConfigurationResult, file: String) {
        let routes = RouteCheck(result, file: file)
        var problems = result.problems + routes.problems
        if let parts = result.parts {
            let content = ContentCheck(file: file)
            problems += parts.certificates.flatMap(content.problems) + parts.keySets.compactMap(content.problem)
            problems += parts.secrets.compactMap(content.problem) + parts.authorities.compactMap(content.problem)
            problems += parts.revocations.compactMap(content.revocationsProblem)
            problems += [parts.ticketKeys].compactMap { $0.flatMap(content.ticketKeysProblem) }
        }
        self.problems = problems.inOrderOfTheFile
        let hasErrors = problems.contains { $0.severity == .error }
        if !hasErrors, let configuration = result.configuration, let compiled = routes.compiled {
            sound = (configuration, compiled)
        } else {
            sound = nil
        }
    }
}

extension [ConfigurationProblem] {
    var inOrderOfTheFile: [ConfigurationProblem] {
        enumerated().sorted { left, right in
            let (a, b) = (left.element.location, right.element.location)
            return (a.line, a.column, left.offset) < (b.line, b.column, right.offset)
        }.map(\.element)
    }
}

/// Reads the files that a configuration names as those who use them later do.
private struct ContentCheck {
    let file: String

    /// A certificate, its key, and whether they belong together.
    func problems(_ pair: ConfigurationParts.CertificatePair) -> [ConfigurationProblem] {
        var problems: [ConfigurationProblem] = []
        if let certificate = pair.certificate, let reasons = PEMFiles.refusal(certificate: certificate.path) {
            problems.append(
                error(
                    certificate, "the certificate in '\(certificate.path)' cannot be read: \(reasons)",
                    cure: "name a PEM file with the certificate, then its chain"))
        }
        if let key = pair.key, let reasons = PEMFiles.refusal(key: key.path) {
            problems.append(
                error(
                    key, "the private key in '\(key.path)' cannot be read: \(reasons)",
                    cure: "name a PEM file with a private key"))
        }
        if problems.isEmpty, let certificate = pair.certificate, let key = pair.key,
            !PEMFiles.belongTogether(certificate: certificate.path, key: key.path)
        {
            problems.append(
                error(
                    key, "the key in '\(key.path)' does not belong to the certificate in '\(certificate.path)'",
                    cure: "name the key that the certificate was made for"))
        }
        if let staple = pair.ocsp, let certificate = pair.certificate, problems.isEmpty {
            do throws(TLSError) {
                try TLSCheck.staple(staple.path, of: certificate.path)
            } catch {
                problems.append(
                    self.error(
                        staple, "the OCSP response cannot be stapled: \(error)",
                        cure: "fetch a new one from the certificate's authority, or remove 'ocsp'"))
            }
        }
        return problems
    }

    func revocationsProblem(_ revocations: ConfigurationParts.File) -> ConfigurationProblem? {
        do throws(TLSError) {
            guard try TLSCheck.revocationsEnd(revocations.path) <= currentEpochSeconds() else { return nil }
            // Not an error: the gateway refuses the clients, and what else changes in the file must not wait.
            return ConfigurationProblem(
                severity: .warning, file: file, location: revocations.location,
                message: "a revocation list in '\(revocations.path)' has ended",
                cure: "fetch a new one; every client certificate is refused until then")
        } catch {
            return self.error(
                revocations, "the revocation lists cannot be used: \(error)",
                cure: "name a PEM file with a list of each authority")
        }
    }

    func ticketKeysProblem(_ ticketKeys: ConfigurationParts.File) -> ConfigurationProblem? {
        do throws(TicketKeysError) {
            _ = try TicketKeyFile.read(ticketKeys.path)
            return nil
        } catch {
            return self.error(
                ticketKeys, "the keys of session tickets cannot be used: \(error)",
                cure: "write lines that `openssl rand 80 | base64 -w 0` prints")
        }
    }

    func problem(_ keySet: ConfigurationParts.KeySet) -> ConfigurationProblem? {
        let set: JWKSet
        do {
            set = try JWKSet(parsing: try SystemFiles().read(keySet.file.path, bytesMax: JWKSet.bytesMax).bytes)
        } catch {
            let reason = (error as? FileProblem)?.reason ?? "\(error)"
            return self.error(
                keySet.file, "the keys in '\(keySet.file.path)' cannot be read: \(reason)",
                cure: "name a file with a JWK set: {\"keys\": [ … ]}")
        }
        let algorithms = keySet.algorithms.map(SignatureAlgorithm.init)
        guard !set.keys.contains(where: { algorithms.isEmpty || algorithms.contains($0.key.algorithm) }) else {
            return nil
        }
        let words = keySet.algorithms.map(\.rawValue).joined(separator: ", ")
        return ConfigurationProblem(
            severity: .warning, file: file, location: keySet.file.location,
            message: "none of the keys in '\(keySet.file.path)' verifies \(words.isEmpty ? "anything" : words)",
            cure: "every token of this issuer is refused until the file has one")
    }

    func problem(_ shared: ConfigurationParts.SharedSecret) -> ConfigurationProblem? {
        do throws(KeyError) {
            _ = try SymmetricKey(shared.secret.reveal())
            return nil
        } catch {
            return ConfigurationProblem(
                severity: .error, file: file, location: shared.location, message: "\(error)",
                cure: "write one that `openssl rand -base64 48` prints")
        }
    }

    func problem(_ authorities: ConfigurationParts.File) -> ConfigurationProblem? {
        PEMFiles.refusal(authorities: authorities.path).map { reasons in
            error(
                authorities, "the authorities in '\(authorities.path)' cannot be read: \(reasons)",
                cure: "name a PEM file with their certificates")
        }
    }

    private func error(_ place: ConfigurationParts.File, _ message: String, cure: String) -> ConfigurationProblem {
        ConfigurationProblem(severity: .error, file: file, location: place.location, message: message, cure: cure)
    }
}
