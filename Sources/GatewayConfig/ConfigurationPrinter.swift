/// Shows what holds, and for each value where it came from: the file and line, a variable, or a default.
public enum ConfigurationPrinter {
    /// The effective configuration as YAML that the loader reads back; secrets are `***`.
    ///
    /// A value that came from a file relative to the configuration's folder is shown as it was written.
    public static func yaml(_ result: ConfigurationResult) -> String {
        let root = Node()
        for setting in result.effective { root.insert(setting, at: setting.path.components[...]) }
        return root.lines(indent: 0).map { $0 + "\n" }.joined()
    }

    /// One level of the tree that paths make.
    private final class Node {
        private var setting: EffectiveSetting?
        private var children: [(component: ConfigurationPath.Component, node: Node)] = []

        func insert(_ setting: EffectiveSetting, at path: ArraySlice<ConfigurationPath.Component>) {
            guard let first = path.first else {
                self.setting = setting
                return
            }
            if let child = children.first(where: { $0.component == first }) {
                child.node.insert(setting, at: path.dropFirst())
                return
            }
            let child = Node()
            child.insert(setting, at: path.dropFirst())
            children.append((first, child))
        }

        func lines(indent: Int) -> [String] {
            children.flatMap { child -> [String] in
                switch child.component {
                case .index: return child.node.member(indent: indent)
                case .key(let key), .name(let key):
                    let margin = String(repeating: " ", count: indent)
                    guard let setting = child.node.setting else {
                        return ["\(margin)\(YAMLText.key(key)):"] + child.node.lines(indent: indent + 2)
                    }
                    return ["\(margin)\(YAMLText.key(key)): \(setting.text)  # \(setting.origin.description)"]
                }
            }
        }

        /// A member of a list of mappings: its first line begins with a dash.
        private func member(indent: Int) -> [String] {
            var lines = lines(indent: indent + 2)
            guard let first = lines.first else { return [] }
            lines[0] = String(repeating: " ", count: indent) + "- " + first.dropFirst(indent + 2)
            return lines
        }
    }
}
