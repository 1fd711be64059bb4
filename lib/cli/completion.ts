import { Argument, type Command, type Option } from 'commander';
import { commandOf } from './usage';

/** Shells that have a completion script. */
const shells = ['bash', 'zsh', 'fish', 'powershell'];

/** Placeholders of what the shell itself completes: files and folders. */
const paths = new Set(['image', 'file', 'folder']);

/** Directives of the scripts' protocol, which is that of Go's Cobra: the last line of an answer, after a colon. */
const directives = { files: 0, noFiles: 4 } as const;

// The library's script for bash completes no files, needs the package bash-completion, and cannot be read twice.
const bashScript = `_fkinv_complete() {
  local words=() word answer IFS=$'\\n' current=\${COMP_WORDS[COMP_CWORD]#=}
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == = ]] || words+=("$word") # bash takes --flag=value for three words
  done
  answer=$(fkinv complete -- "\${words[@]}" "$current" 2>/dev/null)
  [[ \${answer##*:} == ${directives.noFiles} ]] && compopt +o default 2>/dev/null
  COMPREPLY=($(compgen -W "$(sed '$d' <<<"$answer" | cut -f 1)" -- "$current"))
}
complete -o default -F _fkinv_complete fkinv
`;

/** Adds `fkinv complete` to `program`. */
export function addCompleteCommand(program: Command): void {
  program
    .command('complete')
    .description('Print a script that completes commands, flags and files in a shell.')
    .addArgument(new Argument('<shell>', 'whose script').choices(shells))
    .action(async (shell: string) => {
      if (shell === 'bash') process.stdout.write(bashScript);
      else (await import('@bomb.sh/tab')).script(shell, program.name(), program.name());
    });
}

/** Answers `fkinv complete -- …words`, which the scripts ask: what the last of `words` may be. */
export function answer(program: Command, words: string[]): void {
  const { values, files } = candidates(program, words);
  for (const [value, description] of values) {
    process.stdout.write(`${value}${description === '' ? '' : `\t${description}`}\n`);
  }
  process.stdout.write(`:${files ? directives.files : directives.noFiles}\n`);
}

interface Candidates {
  /** Each with its description. */
  values: [string, string][];
  /** Whether a file may be given in place of one of the words. */
  files: boolean;
}

function candidates(program: Command, words: string[]): Candidates {
  const last = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const help = program.createHelp();
  const commands = help.visibleCommands(program);
  const command = commandOf(program, before);
  const options = help.visibleOptions(command ?? program);
  const isPlain = before.includes('--');
  const flag = isPlain ? undefined : valued(options, last.includes('=') ? last : before.at(-1));
  const found = (): Candidates => {
    if (flag !== undefined) return placeholder(/<(.+)>/.exec(flag.flags)?.[1], flag.argChoices);
    if (last.startsWith('-') && !isPlain) return { values: options.map(described), files: false };
    const [argument] = command?.registeredArguments ?? [];
    if (command !== undefined && argument?.name() !== 'command') {
      const { values, files } = placeholder(argument?.name(), argument?.argChoices);
      const inner = before.at(-1) === command.name() ? help.visibleCommands(command) : [];
      return {
        values: [...values, ...inner.map((each): [string, string] => [each.name(), each.description()])],
        files,
      };
    }
    return { values: commands.map((each) => [each.name(), each.description()]), files: false };
  };
  const typed = last.startsWith('-') ? last.replace(/^.*=/, '') : last;
  const { values, files } = found();
  return { values: values.filter(([value]) => value.startsWith(typed)), files };
}

/** The option whose value stands after `word`, or after its `=`. */
function valued(options: Option[], word = ''): Option | undefined {
  const name = word.replace(/=.*/, '');
  return options.find(({ short, long, required }) => required && (short === name || long === name));
}

function described({ short, long, description }: Option): [string, string] {
  return [long ?? short ?? '', description];
}

/** What may stand for a placeholder or argument of this name. */
function placeholder(name = '', choices: readonly string[] = []): Candidates {
  return { values: choices.map((choice) => [choice, '']), files: paths.has(name) };
}
