import { envelope } from '@trunkline/sdk';
import { Avatar, Field, Icon, once, Switch } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { useApp, useMedia, useT, useView } from '../app.ts';
import type { Desk } from '../cards/desk.ts';
import type { CardProblem, CardView, OwnCard, Peer } from '../cards/view.ts';
import type { Key } from '../i18n.ts';
import { nameOf, Notice, Screen, TrustMark } from './parts.tsx';
import { Copy, QR, Scanner } from './pieces.tsx';

/** Meeting without a server: two steps, whoever begins. A link that was opened only shows whose it is. */
export function CardScreen(props: { text: string }) {
  const app = useApp();
  const t = useT();
  const view = useView((s) => s.card);
  const run = useDesk();
  useEffect(() => {
    run((desk) => {
      if (props.text) desk.open(props.text);
    });
    if (!props.text) return;
    // The card does not stay in the address bar: a reload would open it again.
    history.replaceState(null, '', '/card');
    app.store.dispatch({ type: 'route', route: { screen: 'card', text: '' } });
  }, [props.text]);
  return (
    <Screen title={t('cardTitle')} narrow>
      {view.is !== 'stopped' && view.is !== 'lost' && <Rail view={view} />}
      <Stage key={view.is} view={view} run={run} />
      <span class="hidden-text" role="status">
        {t(stages[view.is])}
      </span>
      {view.is !== 'none' && view.is !== 'making' && view.is !== 'meeting' && view.is !== 'stopped' && view.is !== 'lost' && (
        <button type="button" class="button plain" onClick={() => run((desk) => desk.discard())}>
          {t(view.is === 'seen' ? 'cardLeave' : 'cardGiveUp')}
        </button>
      )}
    </Screen>
  );
}

type Run = (act: (desk: Desk) => unknown) => void;

/** The desk comes with its code; what goes wrong unexpectedly is shown. */
function useDesk(): Run {
  const app = useApp();
  const t = useT();
  return (act) => {
    const work = async () => void (await act(await app.engine.cards()));
    work().catch((error: unknown) => {
      app.store.dispatch({ type: 'toast', text: t('problemOther') });
      reportError(error);
    });
  };
}

const stages: Record<CardView['is'], Key> = {
  none: 'cardStageNone',
  making: 'cardStageMaking',
  offered: 'cardStageOffered',
  seen: 'cardStageSeen',
  answered: 'cardStageAnswered',
  meeting: 'cardStageMeeting',
  stopped: 'cardStageStopped',
  lost: 'cardStageStopped',
};

/** Where one stands. */
function Rail(props: { view: CardView }) {
  const t = useT();
  const { view } = props;
  const answering = view.is === 'seen' || view.is === 'answered' || (view.is === 'making' && view.kind === 'answer');
  const at = view.is === 'offered' && !view.found ? 0 : view.is === 'none' || view.is === 'making' || view.is === 'seen' || view.is === 'stopped' || view.is === 'lost' ? 0 : 1;
  const steps: Key[] = answering ? ['cardRailOpen', 'cardRailBack'] : ['cardRailSend', 'cardAnswerTitle'];
  return (
    <ol class="rail" aria-label={t('cardSteps')}>
      {steps.map((key, i) => (
        <li key={key} class={i < at ? 'done' : i === at ? 'now' : ''} aria-current={i === at ? 'step' : undefined}>
          <span class="rail-number" aria-hidden="true">
            {i < at ? <Icon name="check" /> : i + 1}
          </span>
          {t(key)}
        </li>
      ))}
    </ol>
  );
}

function Stage(props: { view: CardView; run: Run }) {
  const t = useT();
  const { view, run } = props;
  const link = useView((s) => s.link);
  const prefs = useView((s) => s.prefs);
  const [hide, setHide] = useState(prefs.hideAddress && link.is === 'up');
  // Hiding takes the own node's relay.
  const hiding = link.is === 'up' && <Switch label={t('callHideAddress')} hint={t('cardHideHint')} on={hide} onChange={setHide} />;
  switch (view.is) {
    case 'none':
      return <Begin run={run} hide={hide && link.is === 'up'} hiding={hiding} />;
    case 'making':
    case 'meeting':
      return (
        <section class="card">
          {view.is === 'meeting' && <Who peer={view.peer} />}
          <p class="row muted">
            <span class="spinner" />
            {t(view.is === 'making' ? 'cardMaking' : 'cardMeeting')}
          </p>
        </section>
      );
    case 'offered':
      return <Offered view={view} run={run} />;
    case 'seen':
      return (
        <section class="card">
          <h2>{t(view.video ? 'cardSeenVideo' : 'cardSeen')}</h2>
          <Who peer={view.peer} />
          <p class="muted">{t('cardSeenText')}</p>
          <Left until={view.expires} over={t('cardSeenOver')} />
          <YourName />
          {hiding}
          <div class="row wrap">
            <button type="button" class="button main" onClick={() => run((desk) => desk.agree(hide && link.is === 'up'))}>
              <Icon name="check" />
              {t('cardAnswer')}
            </button>
          </div>
        </section>
      );
    case 'answered':
      return (
        <section class="card">
          <h2>{t('cardBackTitle', { name: nameOf(view.peer) })}</h2>
          <p class="muted">{t('cardBackText')}</p>
          <Handing own={view.own} file="trunkline-answer.txt" label={t('cardAnswerLink')} />
          <Left until={view.own.expires} over={t('cardOver')} again={() => run((desk) => desk.discard())} />
          <p class="row muted">
            <span class="spinner" />
            {t('cardWaiting', { name: nameOf(view.peer) })}
          </p>
        </section>
      );
    case 'stopped':
      return <Stopped why={view.why} run={run} />;
    case 'lost':
      return (
        <section class="card">
          <h2>{t('cardLostTitle')}</h2>
          <p>{t(view.kind === 'offer' ? 'cardLostOffer' : 'cardLostAnswer')}</p>
          <div>
            <button type="button" class="button main" onClick={() => run((desk) => desk.discard())}>
              {t('cardAnew')}
            </button>
          </div>
        </section>
      );
  }
}

/** A name is asked for where it is first needed. */
function YourName() {
  const app = useApp();
  const t = useT();
  const prefs = useView((s) => s.prefs);
  return (
    <Field
      label={t('yourName')}
      hint={t('cardNameHint')}
      value={prefs.name}
      onInput={(name) => app.engine.setPrefs({ ...prefs, name: name.slice(0, 64) })}
      attributes={{ maxLength: 64, autocomplete: 'nickname' }}
    />
  );
}

function Begin(props: { run: Run; hide: boolean; hiding: ComponentChildren }) {
  const t = useT();
  const [video, setVideo] = useState(true);
  return (
    <>
      <section class="card">
        <h2>{t('cardBeginTitle')}</h2>
        <p class="muted">{t('cardBeginText')}</p>
        <YourName />
        <Switch label={t('cardVideo')} on={video} onChange={setVideo} />
        {props.hiding}
        <div>
          <button type="button" class="button main" onClick={() => props.run((desk) => desk.make(video, props.hide))}>
            <Icon name="link" />
            {t('cardMake')}
          </button>
        </div>
      </section>
      <section class="card">
        <h2>{t('cardGotTitle')}</h2>
        <p class="muted">{t('cardGotText')}</p>
        <Taking label={t('cardPaste')} run={props.run} />
      </section>
    </>
  );
}

function Offered(props: { view: Extract<CardView, { is: 'offered' }>; run: Run }) {
  const t = useT();
  const { view, run } = props;
  const found = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (view.found) found.current?.focus();
  }, [view.found?.text]);
  return (
    <>
      {!view.found && (
        <section class="card">
          <h2>{t('cardSendTitle')}</h2>
          <p class="muted">{t('cardSendText')}</p>
          <Handing own={view.own} file="trunkline-invitation.txt" label={t('cardFirstLink')} />
          <Left until={view.own.expires} over={t('cardOver')} again={() => run((desk) => desk.discard())} />
        </section>
      )}
      <section class="card">
        <h2>{t('cardAnswerTitle')}</h2>
        {view.found ? (
          <>
            <div ref={found} tabIndex={-1} class="stack">
              <Who peer={view.found.peer} />
            </div>
            <p class="muted">{t('cardFoundText')}</p>
            <div>
              <button type="button" class="button main" onClick={() => run((desk) => desk.accept())}>
                <Icon name="check" />
                {t('cardConnect', { name: nameOf(view.found.peer) })}
              </button>
            </div>
          </>
        ) : (
          <>
            <p class="muted">{t('cardAnswerText')}</p>
            <Taking label={t('cardPasteAnswer')} run={run} />
            {view.problem && (
              <Notice kind={grave.has(view.problem) ? 'danger' : 'warn'}>
                <p class="strong" role="alert">
                  {t(problems[view.problem].text)}
                </p>
                <p>{t(problems[view.problem].next)}</p>
              </Notice>
            )}
          </>
        )}
      </section>
    </>
  );
}

/** Whose card it is. A name proves nothing; the fingerprint does, to whoever compares it. */
function Who(props: { peer: Peer }) {
  const t = useT();
  const { peer } = props;
  return (
    <>
      <div class="row">
        <Avatar name={nameOf(peer)} seed={peer.id} large />
        <div class="grow">
          <div class="row">
            <span class="strong cut">{nameOf(peer)}</span>
            <TrustMark trust={{ is: peer.verified ? 'verified' : 'unverified' }} words />
          </div>
          <code class="small">{peer.fingerprint}</code>
        </div>
      </div>
      {!peer.verified && <p class="small">{t(peer.known ? 'cardKnown' : 'cardStranger')}</p>}
    </>
  );
}

/** The own card, in every form in which it can leave this page. */
function Handing(props: { own: OwnCard; file: string; label: string }) {
  const t = useT();
  const { own } = props;
  const save = () => {
    const url = URL.createObjectURL(new Blob([`${own.link}\n`], { type: 'text/plain' }));
    const link = document.createElement('a');
    link.href = url;
    link.download = props.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  return (
    <div class="share row wrap">
      <Codes codes={own.codes} />
      <div class="stack grow">
        <code class="long" tabIndex={0} aria-label={props.label}>
          {own.link}
        </code>
        <div class="row wrap">
          <Copy text={own.link} label={t('copyLink')} main />
          {'share' in navigator && (
            <button type="button" class="button" onClick={() => void navigator.share({ url: own.link }).catch(() => undefined)}>
              {t('share')}
            </button>
          )}
          <button type="button" class="button" onClick={save}>
            <Icon name="file" />
            {t('cardSave')}
          </button>
        </div>
      </div>
    </div>
  );
}

const turnMs = 900;

/** One code, or several in turn: more than fits one would be too fine for a camera. */
function Codes(props: { codes: string[] }) {
  const t = useT();
  const still = useMedia('(prefers-reduced-motion: reduce)');
  const [at, setAt] = useState(0);
  const [paused, setPaused] = useState(still);
  const { codes } = props;
  useEffect(() => {
    if (paused || codes.length < 2) return;
    const timer = setInterval(() => setAt((n) => (n + 1) % codes.length), turnMs);
    return () => clearInterval(timer);
  }, [paused, codes.length]);
  const code = codes[at] ?? codes[0] ?? '';
  return (
    <div class="stack tight codes">
      <QR text={code} label={t('cardQr')} />
      {codes.length > 1 && (
        <div class="row">
          <span class="small muted grow">{t('cardCode', { n: at + 1, of: codes.length })}</span>
          {paused ? (
            <button type="button" class="button" onClick={() => setAt((at + 1) % codes.length)}>
              {t('cardNextCode')}
            </button>
          ) : (
            <button type="button" class="button" onClick={() => setPaused(true)}>
              {t('cardPause')}
            </button>
          )}
        </div>
      )}
    </div>
  );
}

/** Takes a card: pasted, scanned or from a file. */
function Taking(props: { label: string; run: Run }) {
  const t = useT();
  const [text, setText] = useState('');
  const [scanning, setScanning] = useState(false);
  const [seen, setSeen] = useState('');
  const [parts] = useState(() => new envelope.CardParts());
  const open = (card: string) => props.run((desk) => desk.open(card));
  const read = once(
    async (file: File) => open(await file.slice(0, 8192).text()),
    () => open(''),
  );
  if (scanning) {
    return (
      <>
        <Scanner
          onText={(code) => {
            const whole = parts.take(code);
            if (whole === undefined) return false;
            if (whole === 'part') {
              setSeen(t('cardCode', { n: parts.have, of: parts.of }));
              return 'more';
            }
            setScanning(false);
            open(whole);
            return true;
          }}
          onClose={() => setScanning(false)}
        />
        {seen && (
          <p class="small muted" role="status">
            {seen}
          </p>
        )}
      </>
    );
  }
  return (
    <form
      class="stack"
      onSubmit={(e) => {
        e.preventDefault();
        open(text);
      }}
    >
      <Field label={props.label} value={text} onInput={setText} multiline attributes={{ autocomplete: 'off', spellcheck: false, autocapitalize: 'none', maxLength: 4096 }} />
      <div class="row wrap">
        <button type="submit" class="button" disabled={!text.trim()}>
          {t('cardOpen')}
        </button>
        <button type="button" class="button" onClick={() => setScanning(true)}>
          <Icon name="scan" />
          {t('scan')}
        </button>
        <label class="button file-to">
          <Icon name="file" />
          {t('cardOpenFile')}
          <input
            type="file"
            accept=".txt,text/plain"
            onChange={(e) => {
              const [file] = e.currentTarget.files ?? [];
              e.currentTarget.value = '';
              if (file) read(file);
            }}
          />
        </label>
      </div>
    </form>
  );
}

/** How long a card is still good. The seconds are not read out; that it is over is. */
function Left(props: { until: number; over: string; again?: () => void }) {
  const t = useT();
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const left = Math.max(Math.ceil((props.until - now) / 1000), 0);
  if (left === 0) {
    return (
      <Notice kind="warn" icon="clock">
        <p role="alert">{props.over}</p>
        {props.again && (
          <div>
            <button type="button" class="button" onClick={props.again}>
              {t('cardAnew')}
            </button>
          </div>
        )}
      </Notice>
    );
  }
  return (
    <p class="row small muted" role="timer">
      <Icon name="clock" />
      {t('cardLeft', { time: `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}` })}
    </p>
  );
}

/** What somebody stands in the middle of, or what should not be gone on with. */
const grave = new Set<CardProblem>(['tampered', 'device', 'alarm', 'second']);

const problems: Record<CardProblem, { text: Key; next: Key }> = {
  malformed: { text: 'cardMalformed', next: 'cardMalformedNext' },
  version: { text: 'cardVersion', next: 'cardVersionNext' },
  tampered: { text: 'cardTampered', next: 'cardTamperedNext' },
  expired: { text: 'cardExpired', next: 'cardExpiredNext' },
  'not-yet': { text: 'cardNotYet', next: 'cardNotYetNext' },
  'is-offer': { text: 'cardIsOffer', next: 'cardIsOfferNext' },
  'is-answer': { text: 'cardIsAnswer', next: 'cardIsAnswerNext' },
  foreign: { text: 'cardForeign', next: 'cardForeignNext' },
  own: { text: 'cardOwn', next: 'cardOwnNext' },
  replayed: { text: 'cardReplayed', next: 'cardReplayedNext' },
  second: { text: 'cardSecond', next: 'cardSecondNext' },
  device: { text: 'cardDevice', next: 'cardDeviceNext' },
  blocked: { text: 'cardBlocked', next: 'cardBlockedNext' },
  alarm: { text: 'cardAlarm', next: 'cardAlarmNext' },
  nobody: { text: 'cardNobody', next: 'cardNobodyNext' },
  unreachable: { text: 'cardUnreachable', next: 'cardUnreachableNext' },
  'no-relay': { text: 'cardNoRelay', next: 'cardNoRelayNext' },
  'no-address': { text: 'cardNoAddress', next: 'cardNoAddressNext' },
  other: { text: 'problemOther', next: 'cardExpiredNext' },
};

function Stopped(props: { why: CardProblem; run: Run }) {
  const t = useT();
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const { text, next } = problems[props.why];
  return (
    <section class="card">
      <Notice kind={grave.has(props.why) ? 'danger' : 'warn'}>
        <div role="alert">
          <h2 ref={heading} tabIndex={-1}>
            {t(text)}
          </h2>
        </div>
        <p>{t(next)}</p>
      </Notice>
      <div>
        <button type="button" class="button main" onClick={() => props.run((desk) => desk.discard())}>
          {t('cardAnew')}
        </button>
      </div>
    </section>
  );
}
