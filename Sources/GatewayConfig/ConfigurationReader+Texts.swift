/// Where the text of a value comes from: a variable of the environment, the file, another file.
extension ConfigurationReader {
    struct SourcedText {
        let text: String
        let location: SourceLocation
        let origin: EffectiveSetting.Origin
    }

    enum Found {
        case absent
        /// Reported already.
        case wrong
        case texts([SourcedText])
    }

    func found<Value>(_ setting: Setting<Value>, in section: Section) -> Found {
        if let name = setting.environmentName, let text = environment[name] {
            return .texts(fromEnvironment(text, name: name, isList: setting.isList))
        }
        let path = section.path.key(setting.key)
        if let pair = section.pair(setting.key) {
            return texts(of: pair.node, at: path, isList: setting.isList)
        }
        // An entry of a list has its own trust; the environment describes one only where the file has no list.
        let mayUseAlias = setting.environmentName != nil || !section.isPresent
        if mayUseAlias, let name = setting.alias, let text = environment[name], !text.isEmpty {
            return .texts(fromEnvironment(text, name: name, isList: setting.isList))
        }
        return .absent
    }

    /// A list in a variable has commas.
    private func fromEnvironment(_ text: String, name: String, isList: Bool) -> [SourcedText] {
        let parts = isList ? text.split(separator: ",").map { $0.trimmed } : [text]
        let location = SourceLocation(path: name, line: 0, column: 0)
        return parts.map { SourcedText(text: $0, location: location, origin: .environment(name)) }
    }

    func texts(of node: YAMLNode, at path: ConfigurationPath, isList: Bool) -> Found {
        let location = SourceLocation(path: path.description, line: node.line, column: node.column)
        switch node.value {
        case .refused: return .wrong
        case .scalar(let text, _):
            guard !node.isEmpty else {
                error(location, "the key has no value", cure: "give it one, or remove the key")
                return .wrong
            }
            return expanded(text, at: location).map { .texts([$0]) } ?? .wrong
        case .sequence(let members) where isList:
            let found = members.enumerated().map { texts(of: $0.element, at: path.index($0.offset), isList: false) }
            var all: [SourcedText] = []
            for case .texts(let texts) in found { all += texts }
            return all.count == members.count ? .texts(all) : .wrong
        default:
            error(
                location, "\(node.kind) stands here",
                cure: isList ? "write a value or a list of values" : "write a single value")
            return .wrong
        }
    }

    /// The text with its variables; `nil` where one is missing, which is reported.
    func expanded(_ text: String, at location: SourceLocation) -> SourcedText? {
        do {
            let result = try VariableExpansion.expand(text, environment: environment)
            variables.formUnion(result.names)
            let origin = EffectiveSetting.Origin.file(file, line: location.line, variables: result.names)
            return SourcedText(text: result.text, location: location, origin: origin)
        } catch {
            self.error(location, error.message, cure: error.cure ?? "write plain text")
            return nil
        }
    }

    func read<Value>(_ setting: Setting<Value>, _ text: SourcedText) -> Value? {
        do {
            return try setting.type.read(text.text)
        } catch {
            let cure = error.cure ?? "write \(setting.type.allowed)"
            if text.location.line == 0 {
                environmentProblem(.error, text.location.path, error.message, cure: cure)
            } else {
                self.error(text.location, error.message, cure: cure)
            }
            return nil
        }
    }
}

// MARK: - Files

extension ConfigurationReader {
    /// The path as the process opens it: one that is not absolute counts from the configuration file's folder.
    func resolved(_ path: String) -> String { path.hasPrefix("/") ? path : folder + path }

    /// The bytes of a file that has to be readable now; `nil` when it is not, which is reported.
    func contents(_ path: String, at location: SourceLocation, bytesMax: Int) -> FileContents? {
        do {
            let contents = try files.read(resolved(path), bytesMax: bytesMax)
            parts.filesRead.append(.init(path: resolved(path), location: location))
            return contents
        } catch {
            self.error(
                location, "the file \(resolved(path).quoted) cannot be read: \(error.reason)",
                cure: "correct the path, which counts from the folder of \(file), or the file's permissions")
            return nil
        }
    }

    /// The same for a file that others must not read.
    func privateFile(_ path: String, at location: SourceLocation, bytesMax: Int) -> [UInt8]? {
        guard let contents = contents(path, at: location, bytesMax: bytesMax) else { return nil }
        guard contents.mode & 0o027 == 0 else {
            let mode = String(contents.mode & 0o777, radix: 8)
            error(
                location, "the file \(resolved(path).quoted) is open to other users (mode 0\(mode))",
                cure: "run: chmod 0600 \(resolved(path).escaped(max: 200))")
            return nil
        }
        return contents.bytes
    }
}

extension Substring {
    /// Without spaces at both ends.
    var trimmed: String {
        var text = self
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
